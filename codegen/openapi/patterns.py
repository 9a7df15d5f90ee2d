"""Regular expressions: ranges of decimal numbers, base64 of so many bytes, RE2 in the dialect of JSON Schema.

Everything made here means the same in ECMA-262, in Python and in Rust: no look-ahead, no
classes of Unicode, no flags.
"""

import re
from collections.abc import Iterator, Sequence

Range = tuple[int, int]

UUID = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4 = rf"^{_OCTET}(?:\.{_OCTET}){{3}}$"
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
EMAIL = rf"^[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*$"
TYPE_NAME = r"[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*"
_FIELD = "[a-z][0-9A-Za-z]*"
_FIELDS_BELOW = rf"(?:\.{_FIELD})*"
_SYNTAX = frozenset(r"^$\.*+?()[]{}|/")


def field_mask(paths: Sequence[str]) -> str:
    """Matches a google.protobuf.FieldMask in JSON, of these paths and what is below them; of any, if there are none."""
    path = f"(?:{'|'.join(escape(each) for each in paths) or _FIELD}){_FIELDS_BELOW}"
    return whole(f"(?:{path}(?:,{path})*)?")


def whole(pattern: str) -> str:
    """The pattern for the whole of a text."""
    return f"^(?:{pattern})$"


def escape(text: str) -> str:
    """A pattern that finds the text itself."""
    return "".join(f"\\{char}" if char in _SYNTAX else char for char in text)


# Decimal numbers


def decimals(ranges: Sequence[Range]) -> str:
    """Matches the canonical decimal spelling of every integer in the ranges, and nothing else."""
    return whole("|".join(part for low, high in ranges for part in _decimal(low, high)))


def _decimal(low: int, high: int) -> Iterator[str]:
    if low < 0:
        yield from (f"-{part}" for part in _positive(max(1, -high), -low))
    if low <= 0 <= high:
        yield "0"
    if high > 0:
        yield from _positive(max(1, low), high)


def _positive(low: int, high: int) -> Iterator[str]:
    """By number of digits: first what is left of the shortest, then whole lengths at once, then the longest."""
    lengths = range(len(str(low)), len(str(high)) + 1)
    parts = [(max(low, 10 ** (n - 1)), min(high, 10**n - 1)) for n in lengths]
    full = [n for n, part in zip(lengths, parts, strict=True) if part == (10 ** (n - 1), 10**n - 1)]
    for n, (first, last) in zip(lengths, parts, strict=True):
        if n not in full:
            yield from _same_length(str(first), str(last))
        elif n == full[0]:
            yield "[1-9]" + _any_digits(full[0] - 1, full[-1] - 1)


def _same_length(low: str, high: str) -> Iterator[str]:
    rest = len(low) - 1
    if rest == 0:
        yield _digit(int(low), int(high))
        return
    if low[0] == high[0]:
        yield from (low[0] + part for part in _same_length(low[1:], high[1:]))
        return
    first, last = int(low[0]), int(high[0])
    if low[1:] != "0" * rest:
        yield from (low[0] + part for part in _same_length(low[1:], "9" * rest))
        first += 1
    tail = high[1:] != "9" * rest
    if first <= last - tail:
        yield _digit(first, last - tail) + _any_digits(rest, rest)
    if tail:
        yield from (high[0] + part for part in _same_length("0" * rest, high[1:]))


def _digit(low: int, high: int) -> str:
    return str(low) if low == high else f"[{low}-{high}]"


def _any_digits(low: int, high: int) -> str:
    if high == 0:
        return ""
    if (low, high) == (1, 1):
        return "[0-9]"
    return f"[0-9]{{{low}}}" if low == high else f"[0-9]{{{low},{high}}}"


# base64


Lengths = Sequence[tuple[int, int | None]]


def base64(lengths: Lengths) -> str:
    """Matches so many bytes as proto JSON reads them: in either alphabet, padded or not."""
    return whole("|".join([*_base64("[A-Za-z0-9+/]", lengths, "?"), *_base64("[A-Za-z0-9_-]", lengths, "?")]))


def base64_canonical(lengths: Lengths) -> str:
    """Matches so many bytes as proto JSON prints them: in the standard alphabet, padded."""
    return whole("|".join(_base64("[A-Za-z0-9+/]", lengths, "")))


def _base64(char: str, lengths: Lengths, optional: str) -> Iterator[str]:
    """One part for each remainder: three bytes are four characters, one more is two, two more are three."""
    tails = ["", f"{char}{{2}}(?:==){optional}", f"{char}{{3}}={optional}"]
    for low, high in lengths:
        for remainder, tail in enumerate(tails):
            least = max(0, -(-(low - remainder) // 3))
            most = None if high is None else (high - remainder) // 3
            if most is None or least <= most:
                yield _times(f"(?:{char}{{4}})", least, most) + tail


def _times(pattern: str, low: int, high: int | None) -> str:
    if high == 0:
        return ""
    if high is None:
        return f"{pattern}*" if low == 0 else f"{pattern}{{{low},}}"
    return f"{pattern}{{{low}}}" if low == high else f"{pattern}{{{low},{high}}}"


# RE2

_TOKEN = re.compile(
    r"(?P<named>\(\?P<\w+>)|(?P<group>\(\?:|\((?!\?))|(?P<flags>\(\?)"
    r"|(?P<posix>\[:\^?\w+:\])|(?P<wide>\\x\{[0-9A-Fa-f]+\})|(?P<byte>\\x[0-9A-Fa-f]{2})"
    r"|(?P<escape>\\.)|(?P<count>\{\d+(?:,\d*)?\})|(?P<char>.)",
    re.DOTALL,
)
_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_LITERALS = {".": "[^\\n]", **{char: f"\\{char}" for char in "]{}/"}}


class _NotExpressibleError(Exception):
    """RE2 can say it, ECMA-262 can't, or not in a few characters."""


def from_re2(pattern: str) -> str | None:
    """The pattern as JSON Schema understands it; None where that cannot be had (flags, Unicode classes, …)."""
    try:
        return "".join(_translated(pattern))
    except _NotExpressibleError:
        return None


def _translated(pattern: str) -> Iterator[str]:
    inside = False
    position = 0
    while position < len(pattern):
        if not inside and pattern[position] == "[":
            inside = True
            opening = re.compile(r"\[\^?\]?").match(pattern, position)
            assert opening
            position = opening.end()
            yield opening.group().replace("]", "\\]")
            continue
        token = _TOKEN.match(pattern, position)
        assert token
        position = token.end()
        if inside and token.group() == "]":
            inside = False
            yield "]"
        else:
            yield _inside(token) if inside else _outside(token)


def _outside(token: re.Match[str]) -> str:
    text = token.group()
    match token.lastgroup:
        case "named":
            return "(?:"
        case "flags":
            return _refuse()
        case "escape":
            return _escape(text[1])
        case "wide":
            return _wide(text)
        case "char":
            return _LITERALS.get(text, text)
    return text


def _inside(token: re.Match[str]) -> str:
    text = token.group()
    match token.lastgroup:
        case "posix":
            return _POSIX.get(text.strip("[:]")) or _refuse()
        case "escape":
            return _escape_inside(text[1])
        case "wide":
            return _wide(text)
        case _:
            return text.replace("[", "\\[")


def _escape_inside(char: str) -> str:
    if char in "bBDWS":
        return _refuse()
    if char == "-":
        return "\\-"
    return _CLASSES.get(char) or _escape(char)


def _escape(char: str) -> str:
    if char in _CLASSES:
        return f"[{_CLASSES[char]}]"
    if char.lower() in _CLASSES:
        return f"[^{_CLASSES[char.lower()]}]"
    if char in "fnrtvbB":
        return f"\\{char}"
    if char.isalnum():
        return {"A": "^", "z": "$", "a": "\\x07"}.get(char) or _refuse()
    return escape(char)


def _wide(text: str) -> str:
    number = int(text[3:-1], 16)
    return f"\\u{number:04x}" if number < 0x10000 else chr(number)


def _refuse() -> str:
    raise _NotExpressibleError
