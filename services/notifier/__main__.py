"""The notifier as a process: `python -m services.notifier`.

`… dead-letters list` shows what is parked in its database, `… dead-letters replay` delivers it.
"""

import argparse
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import asyncpg
from marketplace.loms.v1.events_pb2 import OrderEvent
from marketplace.notifier.v1 import notifier_pb2_grpc as pb_grpc
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.chassis import lifecycle
from services.chassis.background import background
from services.chassis.bus import Consumer, InProcessTopic, ObservedConsumer, Received
from services.chassis.contract import event
from services.chassis.errors import AppError
from services.chassis.kafka import KafkaConsumer, KafkaTopic
from services.chassis.log import Logger, configure_logging, get_logger
from services.chassis.migrations import migrated_database
from services.chassis.postgres import database
from services.chassis.server import servicer, serving
from services.chassis.settings import Address, Bootstrap, DatabaseSettings, DatabaseUrl, StartError, load
from services.notifier.events import read, to_arrived
from services.notifier.memory import MemoryStorage
from services.notifier.postgres import PostgresStorage
from services.notifier.servicer import NotifierServicer
from services.notifier.usecases import Letter, Notifications

MIGRATIONS = Path(__file__).parents[2] / "sql" / "notifier" / "migrations"


class NotifierSettings(DatabaseSettings):
    model_config = SettingsConfigDict(env_prefix="NOTIFIER_")
    service: ClassVar[str] = "notifier"

    listen: Address = "127.0.0.1:50054"
    side_listen: Address = "127.0.0.1:9104"
    kafka_bootstrap: Bootstrap | None = None
    """The brokers that the events of orders come from."""
    kafka_group: str = Field(default="notifier", min_length=1)
    """The consumer group: its members share the events."""


class LettersSettings(NotifierSettings):
    """Who only looks after letters does not migrate."""

    database_direct_url: DatabaseUrl | None = None


@asynccontextmanager
async def storage_of(settings: NotifierSettings, log: Logger) -> AsyncIterator[MemoryStorage | PostgresStorage]:
    """Where notifications live."""
    if settings.storage == "memory":
        yield MemoryStorage()
        return
    async with migrated_database(settings, MIGRATIONS, log) as database:
        yield PostgresStorage(database)


def consumer_of(settings: NotifierSettings, log: Logger) -> Consumer:
    """Where the events of orders come from."""
    if settings.kafka_bootstrap is None:
        log.warning("no events come", setting=settings.variable("kafka_bootstrap"))
        return InProcessTopic()
    return KafkaConsumer(KafkaTopic(settings.kafka_bootstrap, event(OrderEvent.DESCRIPTOR).topic), settings.kafka_group)


@asynccontextmanager
async def notifier(settings: NotifierSettings, order_events: Consumer | None = None) -> AsyncIterator[int]:
    """Serves the notifier and consumes the events of orders; gives the port."""
    log = get_logger(settings.service)
    topic = order_events or consumer_of(settings, log)
    observed = ObservedConsumer(topic, event(OrderEvent.DESCRIPTOR).topic, settings.service)
    async with storage_of(settings, log) as storage:
        notifications = Notifications(storage, log)

        async def handle(batch: Sequence[Received]) -> None:
            await notifications.handle([to_arrived(received) for received in batch])

        async def consume() -> None:
            await observed.consume(handle, log)

        registered = servicer(pb_grpc.add_NotifierServiceServicer_to_server, NotifierServicer(notifications))
        async with background(consume), serving(settings, registered) as port:
            yield port


async def show(notifications: Notifications) -> int:
    """Prints a line for each letter, and one if there is none; gives the exit code."""
    found = 0
    async for letter in notifications.letters():
        sys.stdout.write(f"{line(letter)}\n")
        found += 1
    if not found:
        sys.stdout.write("no letters are parked\n")
    return 0


def line(letter: Letter) -> str:
    """The letter for people."""
    arrived = letter.event
    sequence = dict(arrived.headers).get("sequence", b"")
    return (
        f"order {arrived.order_id or 'unknown'}, sequence {sequence.decode() if sequence.isdigit() else 'unknown'}, "
        f"partition {arrived.partition}, offset {arrived.offset}, parked {letter.parked_at:%Y-%m-%dT%H:%M:%SZ}: "
        f"{' '.join(letter.error.split())}"
    )


async def replay(notifications: Notifications) -> int:
    """Delivers what can be delivered now and says how much that was; gives the exit code: 1 if letters stay."""
    replayed = await notifications.replay(read)
    sys.stdout.write(f"delivered {replayed.delivered}, left {replayed.left}\n")
    return 1 if replayed.left else 0


COMMANDS = {"list": show, "replay": replay}


async def dead_letters(command: str) -> int:
    """Does it on the database of the settings; gives the exit code."""
    settings = load(LettersSettings)
    configure_logging(settings.log_level, settings.log_format)
    if settings.storage != "postgres":
        raise StartError(f"{settings.variable('storage')} is not postgres: in memory letters end with their process")
    url, variable = settings.required_url("database_url"), settings.variable("database_url")
    log = get_logger(settings.service)
    async with database(url, variable, log, settings.database_connections) as connected:
        try:
            return await COMMANDS[command](Notifications(PostgresStorage(connected), log))
        except asyncpg.UndefinedTableError:
            raise StartError(f"the database of {variable} has no dead letters: run `make migrate`") from None
        except AppError as error:
            sys.stderr.write(f"stopped: {error}\n")
            return 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.notifier", description=__doc__)
    commands = parser.add_subparsers(dest="service", help="without one: serve")
    letters = commands.add_parser("dead-letters", help="events that could not be handled, and those that wait for them")
    letters.add_argument("command", choices=COMMANDS)
    arguments = parser.parse_args()
    if arguments.service is None:
        lifecycle.main(NotifierSettings, notifier)
    else:
        lifecycle.run_to_exit(dead_letters(arguments.command))


if __name__ == "__main__":
    main()
