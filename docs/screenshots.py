"""Makes the pictures of the README from a marketplace of its own: `make screenshots`."""

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.marketplace import healthy_marketplace

DOCS = Path(__file__).parent
SCRIPT = DOCS.parent / "swagger-ui" / "screenshots.mjs"


def take(chromium: str, folder: Path) -> int:
    """Writes the pictures into the folder and gives the exit code of the browser's driver."""
    folder.mkdir(exist_ok=True)
    with TemporaryDirectory() as scratch, healthy_marketplace(Path(scratch) / "log") as marketplace:
        return subprocess.run(["node", SCRIPT, chromium, marketplace.url, folder], check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.screenshots", description=__doc__)
    parser.add_argument("--chromium", required=True, help="the program to take the pictures with")
    arguments = parser.parse_args()
    sys.exit(take(arguments.chromium, DOCS / "pictures"))


if __name__ == "__main__":
    main()
