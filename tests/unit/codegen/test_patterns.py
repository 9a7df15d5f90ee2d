"""Regular expressions that are made and not written."""

import base64
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codegen.openapi import patterns

_INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.tuples(_INT64, _INT64), st.integers(-(10**20), 10**20))
@example((1, 2**63 - 1), 2**63)
@example((1, 2**63 - 1), 2**63 - 1)
@example((-5, 17), -6)
@example((99, 1000), 1001)
def test_a_range_of_decimals_matches_its_integers_and_no_other(ends: tuple[int, int], number: int) -> None:
    low, high = sorted(ends)
    matches = re.compile(patterns.decimals([(low, high)])).search
    for each in {number, low, high, low - 1, high + 1, (low + high) // 2, number % 1000, -(number % 1000)}:
        assert bool(matches(str(each))) == (low <= each <= high)


@pytest.mark.parametrize("text", ["01", "+1", "1.0", "1e2", "", " 1", "1 ", "-0", "0x1", "1_0", "١"])
def test_a_range_of_decimals_matches_canonical_spellings_only(text: str) -> None:
    assert not re.search(patterns.decimals([(-100, 100)]), text)


@given(st.binary(max_size=20), st.integers(0, 12), st.integers(0, 12))
def test_base64_of_so_many_bytes_matches_by_the_number_of_bytes(content: bytes, one: int, other: int) -> None:
    low, high = sorted([one, other])
    standard, url = base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode()
    lenient, canonical = patterns.base64([(low, high)]), patterns.base64_canonical([(low, high)])
    for text in (standard, url, standard.rstrip("="), url.rstrip("=")):
        assert bool(re.search(lenient, text)) == (low <= len(content) <= high)
    assert bool(re.search(canonical, standard)) == (low <= len(content) <= high)


@pytest.mark.parametrize("text", ["A", "AA=", "AAA==", "A+A_", "AA==AA==", "A A="])
def test_what_is_no_base64_does_not_match(text: str) -> None:
    assert not re.search(patterns.base64([(0, None)]), text)


@pytest.mark.parametrize(
    ("re2", "expected"),
    [
        ("^[a-z]+$", "^[a-z]+$"),
        (r"\A\d{3}\z", "^[0-9]{3}$"),
        ("[[:alpha:]_]", "[A-Za-z_]"),
        (r"[^\w\-]", r"[^0-9A-Za-z_\-]"),
        ("(?P<year>a)(?:b)", "(?:a)(?:b)"),
        (r"\@\-\.", r"@-\."),
        (".", r"[^\n]"),
        (r"\x{263a}", r"\u263a"),
        ("[]a]", r"[\]a]"),
        ("a{2}{x}", r"a{2}\{x\}"),
        (r"\S", r"[^\t\n\f\r ]"),
    ],
)
def test_re2_is_put_into_the_dialect_of_json_schema(re2: str, expected: str) -> None:
    assert patterns.from_re2(re2) == expected
    re.compile(expected)


@pytest.mark.parametrize("re2", ["(?i)a", r"\pL", r"\p{Greek}", "[[:^alpha:]]", r"\Qa.b\E", r"[\D]", r"\C"])
def test_re2_that_json_schema_does_not_have_is_refused(re2: str) -> None:
    assert patterns.from_re2(re2) is None


@given(st.text(), st.text(max_size=3))
def test_an_escaped_text_finds_itself(text: str, around: str) -> None:
    assert re.search(patterns.escape(text), around + text + around)


@pytest.mark.parametrize(
    ("address", "matches"), [("1.2.3.4", True), ("255.0.10.199", True), ("256.1.1.1", False), ("1.2.3", False)]
)
def test_ipv4_is_four_numbers_up_to_255(address: str, matches: bool) -> None:  # noqa: FBT001 - a column of the table
    assert bool(re.search(patterns.IPV4, address)) == matches
