"""Makes the pictures of the README from a marketplace of its own: `make screenshots`."""

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.marketplace import running_marketplace

DOCS = Path(__file__).parent
SCRIPT = DOCS.parent / "swagger-ui" / "screenshots.mjs"


async def take(chromium: str, folder: Path) -> int:
    """Writes the pictures into the folder and gives the exit code of the browser's driver."""
    folder.mkdir(exist_ok=True)
    with TemporaryDirectory() as scratch:
        async with running_marketplace(Path(scratch) / "log") as marketplace:
            driver = await asyncio.create_subprocess_exec("node", SCRIPT, chromium, marketplace.url, folder)
            return await driver.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.screenshots", description=__doc__)
    parser.add_argument("--chromium", required=True, help="the program to take the pictures with")
    arguments = parser.parse_args()
    sys.exit(asyncio.run(take(arguments.chromium, DOCS / "pictures")))


if __name__ == "__main__":
    main()
