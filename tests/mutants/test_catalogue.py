"""The mutants fit the sources, and their tests exist."""

import re
from collections import Counter

import pytest

from tests.marketplace import ROOT
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Edit, Mutant, StaleError


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.promise}, {mutant.name}")
def test_a_mutant_fits_the_sources_and_its_tests_exist(mutant: Mutant) -> None:
    for file, text in mutant.texts(ROOT).items():
        assert text != (ROOT / file).read_text()
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {re.escape(name)}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_no_mutant_is_there_twice() -> None:
    assert Counter((mutant.promise, mutant.name) for mutant in MUTANTS).most_common(1)[0][1] == 1


@pytest.mark.parametrize(("text", "found"), [("one two", 0), ("a a", 2)])
def test_a_mutant_whose_text_is_not_there_so_many_times_is_stale(text: str, found: int) -> None:
    with pytest.raises(StaleError, match=f"has it {found} times instead of 1"):
        Edit("x.py", "a", "b").of(text)
