"""The migrations of the services: `python -m services.migrate up` applies them, `… new SERVICE NAME` begins one."""

import argparse
import sys
from pathlib import Path

from services.cart.__main__ import CartSettings
from services.chassis.lifecycle import run_to_exit
from services.chassis.migrations import create, migrate_database
from services.chassis.settings import DatabaseSettings, load
from services.loms.__main__ import LomsSettings
from services.notifier.__main__ import NotifierSettings

SQL = Path(__file__).parent.parent / "sql"

DATABASES: dict[str, type[DatabaseSettings]] = {
    "loms": LomsSettings,
    "cart": CartSettings,
    "notifier": NotifierSettings,
}


def folder(service: str) -> Path:
    """Where the migrations of a service are."""
    return SQL / service / "migrations"


async def up(services: list[str]) -> int:
    """Migrates the databases of these services and tells what was applied; gives the exit code."""
    for service, settings in [(service, load(DATABASES[service])) for service in services]:
        applied = await migrate_database(settings, folder(service))
        sys.stdout.write(f"{service}: {', '.join(applied) or 'nothing new'}\n")
    return 0


async def new(service: str, name: str) -> int:
    """Begins a migration and tells where it is; gives the exit code."""
    sys.stdout.write(f"{create(folder(service), name)}\n")
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.migrate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up_parser = commands.add_parser("up", help="apply what is new, to the databases of the services in the environment")
    up_parser.add_argument("service", nargs="*", help="all of them if none is named")
    new_parser = commands.add_parser("new", help="begin the next migration of a service")
    new_parser.add_argument("service", choices=DATABASES)
    new_parser.add_argument("name", help="what it does, as in add_discounts")
    arguments = parser.parse_args()
    if arguments.command == "new":
        run_to_exit(new(arguments.service, arguments.name))
    unknown = set(arguments.service) - set(DATABASES)
    if unknown:
        up_parser.error(f"no such service: {', '.join(sorted(unknown))}")
    run_to_exit(up(arguments.service or list(DATABASES)))


if __name__ == "__main__":
    main()
