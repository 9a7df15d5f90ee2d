"""Has a PostgreSQL server prepare every query of sql/: `python -m tests.sql.vet`.

sqlc guesses the types of what it does not know: that there is no such function or
operator, only a server can tell.
"""

import argparse
import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.marketplace import ROOT
from tests.postgres import create_database, running_postgres, tables_of
from tests.sql.queries import services

CONFIG = ROOT / "sql" / "sqlc.yaml"
SQLC = Path(sys.executable).with_name("sqlc")


def vet(config: Path, server: str) -> subprocess.CompletedProcess[str]:
    """Runs `sqlc vet` on databases of its own."""
    urls = {
        f"{service.upper()}_DATABASE_URL": asyncio.run(create_database(server, *tables_of(service)))
        for service in services()
    }
    command = (SQLC, "vet", "--file", config)
    return subprocess.run(command, env=os.environ | urls, capture_output=True, text=True, check=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sql.vet", description=__doc__)
    parser.parse_args()
    with running_postgres() as server:
        vetted = vet(CONFIG, server)
    sys.stderr.write(vetted.stderr)
    return vetted.returncode


if __name__ == "__main__":
    sys.exit(main())
