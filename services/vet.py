"""Has a PostgreSQL server prepare every query of sql/: `python -m services.vet`.

sqlc guesses the types of what it does not know: that there is no such function or
operator, only a server can tell.
"""

import argparse
import asyncio
import os
import socket
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from services.chassis.lifecycle import run_to_exit
from services.chassis.migrations import migrate
from services.embedded_postgres import HOST, embedded_postgres

CONFIG = Path(__file__).parent.parent / "sql" / "sqlc.yaml"
SQLC = Path(sys.executable).with_name("sqlc")


async def vet(config: Path) -> int:
    """Runs `sqlc vet` on a server of its own, with the migrations beside the file applied; gives the exit code."""
    with TemporaryDirectory(prefix="vet-") as folder:
        async with embedded_postgres(Path(folder), _free_port(), durable=False) as server:
            urls = {}
            for name, database in server.databases.items():
                variable = f"{name.upper()}_DATABASE_URL"
                await migrate(database.direct_url, variable, config.parent / name / "migrations")
                urls[variable] = database.direct_url
            sqlc = await asyncio.create_subprocess_exec(SQLC, "vet", "--file", config, env=os.environ | urls)
            return await sqlc.wait()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.vet", description=__doc__)
    parser.add_argument("--file", type=Path, default=CONFIG, help="another sqlc.yaml, with the migrations beside it")
    run_to_exit(vet(parser.parse_args().file))


if __name__ == "__main__":
    main()
