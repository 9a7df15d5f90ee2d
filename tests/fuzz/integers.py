"""Integers as text."""

import re

from google.protobuf.descriptor import FieldDescriptor

_CANONICAL = re.compile(r"-?(?:0|[1-9][0-9]*)")
_KINDS = {
    getattr(FieldDescriptor, f"TYPE_{kind.upper()}"): kind
    for bits in ("32", "64")
    for kind in (f"int{bits}", f"sint{bits}", f"sfixed{bits}", f"uint{bits}", f"fixed{bits}")
}


def kind_of(field: FieldDescriptor) -> str:
    return _KINDS.get(field.type, f"type {field.type}")


def is_integer(field: FieldDescriptor) -> bool:
    return field.type in _KINDS


def is_canonical(text: str) -> bool:
    """Whether there is no other way to write the number with decimal digits."""
    return bool(_CANONICAL.fullmatch(text)) and text != "-0"


def as_integer(field: FieldDescriptor, digits: str) -> int | None:
    """The number, if the field holds it."""
    kind = kind_of(field)
    bits = int(kind[-2:])
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if "u" not in kind and kind[0] != "f" else (0, 2**bits - 1)
    number = int(digits[:30])  # what is longer is out of every range
    return number if low <= number <= high else None
