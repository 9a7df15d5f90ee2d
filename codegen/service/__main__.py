"""Begins a service: `python -m codegen.service reviews`; with --remove takes it away again.

It writes the contract, the SQL, the service and its tests, and names it wherever the services are listed;
`make generate` makes the rest of them.
"""

import argparse
import sys

from codegen.service.names import check_name
from codegen.service.scaffold import ScaffoldError, add, remove


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m codegen.service", description=__doc__)
    parser.add_argument("name", help="a word in lower case, as in reviews")
    parser.add_argument("--remove", action="store_true", help="take away what was written")
    parser.add_argument("--force", action="store_true", help="take it away even if it was changed since")
    arguments = parser.parse_args()
    try:
        if arguments.remove:
            told = remove(arguments.name, force=arguments.force)
        else:
            check_name(arguments.name)
            told = add(arguments.name)
    except ScaffoldError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.writelines(f"{line}\n" for line in told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
