"""Shows the policies of a contract, an image made by `buf build`, or checks them.

The check prints a line for each mistake. It ends with status 1 if there is any, and with 2 if it cannot tell.
"""

import argparse
import sys
from pathlib import Path

from codegen.descriptors import ContractError
from codegen.images import contract_of
from codegen.policy.checks import findings
from codegen.policy.table import table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m codegen.policy", description=__doc__)
    parser.add_argument("image", type=Path)
    parser.add_argument("--check", action="store_true", help="print mistakes instead of the table")
    arguments = parser.parse_args()
    try:
        contract = contract_of(arguments.image.read_bytes())
        if not arguments.check:
            sys.stdout.write(table(contract))
            return 0
        found = findings(contract)
    except ContractError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.writelines(f"{each}\n" for each in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
