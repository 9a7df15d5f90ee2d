"""Compares two images of the contract, made by `buf build`: the one that its users know, and a new one.

Prints a line for whatever breaks a user, and ends with status 1 if there is anything, with 2 if it cannot tell.
"""

import argparse
import sys
from pathlib import Path

from codegen.breaking import messages, policies
from codegen.descriptors import Contract, ContractError
from codegen.findings import Finding
from codegen.images import contract_of


def compare(old: Contract, new: Contract) -> list[Finding]:
    """Everything that breaks a user of the old contract, by file."""
    return sorted({*policies.findings(old, new), *messages.findings(old, new)})


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m codegen.breaking", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    arguments = parser.parse_args()
    try:
        found = compare(*(contract_of(path.read_bytes()) for path in (arguments.old, arguments.new)))
    except ContractError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.writelines(f"{each}\n" for each in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
