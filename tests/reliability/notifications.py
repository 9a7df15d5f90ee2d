"""What may happen to those who receive events: scenarios of any size, each of which tells what came of it."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path

from services.chassis.bus import Message
from services.loms.events import to_message
from services.loms.usecases import StatusChanged
from services.notifier.usecases import BEHIND
from tests.events.consumers import (
    RATE,
    STATUSES,
    Group,
    Inbox,
    Verdict,
    dead_letters,
    feed,
    feeding,
    history,
    logged,
    member,
    members,
    new_group,
    new_inbox,
    part_of,
    running_notifier,
    with_repeats,
)
from tests.events.relays import order_events, reading
from tests.kafka import Broker, Kafka, running_kafka
from tests.marketplace import START_SECONDS
from tests.reliability.report import Finding, Scenario

ROW_SECONDS = 0.001
STATEMENT_SECONDS = 1
KILL_SECONDS = 0.2
STOP_SECONDS = 10
LATEST_SECONDS = 5
POISONED_EACH = 33
"""Of so many orders one has an event that cannot be handled: a hundredth of the events."""

LETTERS = "SELECT event_id, partition, position, error = $1 FROM dead_letters"
LATEST = "SELECT max(recorded_at - moment) FROM notifications WHERE order_id <> ALL($1::bigint[])"

Letter = tuple[str, int, int, bool]
"""The id of an event, its partition and offset, and whether it waits for another one only."""

Spoil = Callable[[bytes], bytes]


def torn(value: bytes) -> bytes:
    return value[:-1]


def with_unknown_status(value: bytes) -> bytes:
    return re.sub(rb'"status": "[^"]+"', b'"status": "lost"', value)


SPOILS: Sequence[Spoil] = (torn, with_unknown_status)


@dataclass(frozen=True)
class Killed:
    """What came of events whose notifiers were killed."""

    verdict: Verdict
    told_twice: int
    at_work: Sequence[bool]
    """Whether each of them was recording a batch when it was killed; otherwise it had done all there was."""

    @property
    def is_kept(self) -> bool:
        return self.verdict.is_kept and self.told_twice == 0 and any(self.at_work)


async def kill_notifiers(
    group: Group, inbox: Inbox, folder: Path, *, events: int, kills: int, resent: int, forced: bool
) -> Killed:
    """A notifier is killed at work and started again so many times; some events come twice, and a range at the end.

    `forced` has the group told who is dead instead of waiting until it knows.
    """
    changes = history(events)
    share = len(changes) // (kills + 1)
    at_work = []
    await inbox.slow_down(ROW_SECONDS)
    async with feeding(group.topic, with_repeats(changes)):
        for number in range(kills):
            async with running_notifier(folder / f"notifier-{number}", inbox, group) as program:
                await inbox.until_it_has(share * number + random.randint(1, share // 2))
                at_work.append(await inbox.until_it_records(len(changes)))
                if number % 2:
                    await asyncio.sleep(random.uniform(0, KILL_SECONDS))
                program.process.kill()
            if forced:
                await group.dismiss()
    await feed(group.topic, part_of(changes, resent))
    async with running_notifier(folder / "last", inbox, group):
        await group.until_it_has_handled_all()
    twice = [each for each, times in logged(*folder.iterdir()).items() if times > 1]
    return Killed(await inbox.verdict(changes), len(twice), at_work)


async def rebalance(group: Group, inbox: Inbox, *, sizes: Sequence[int], between: int, rate: float = RATE) -> Verdict:
    """The group gets these sizes one after another, and after each so many events come; some of them come twice."""
    changes = history((len(sizes) + 1) * between)
    coming = iter(list(with_repeats(changes)))
    async with members(inbox, group) as joined:
        await joined.become(1)
        for size in sizes:
            async with feeding(group.topic, list(islice(coming, between)), rate):
                await joined.become(size)
        await feed(group.topic, coming)
        await group.until_it_has_handled_all()
    return await inbox.verdict(changes)


async def lose_broker(group: Group, inbox: Inbox, folder: Path, broker: Broker, *, times: int, events: int) -> Verdict:
    """The only broker is killed and starts again so many times; before and after it so many events come."""
    changes = history((times + 1) * events)
    async with running_notifier(folder / "notifier", inbox, group) as program:
        await feed(group.topic, changes[:events])
        for number in range(1, times + 1):
            await inbox.until_it_has(number * events)
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)
            await feed(group.topic, changes[number * events : (number + 1) * events])
        await group.until_it_has_handled_all()
        assert program.process.poll() is None
    return await inbox.verdict(changes)


@dataclass(frozen=True)
class Poison:
    """Events that cannot be handled: some cannot be read, some break a rule, and half of them the database refuses."""

    changes: Sequence[StatusChanged]
    """All events."""
    sequences: Mapping[int, int]
    """Which event of an order it is."""
    spoiled: Mapping[int, Spoil]
    """What has happened to it before it came, unless it is the database's business."""

    def as_message(self, change: StatusChanged) -> Message:
        message = to_message(change)
        if not self._is_it(change) or change.order_id not in self.spoiled:
            return message
        return replace(message, value=self.spoiled[change.order_id](message.value))

    def _is_it(self, change: StatusChanged) -> bool:
        return self.sequences.get(change.order_id) == change.sequence

    @property
    def refusal(self) -> str:
        """What makes the database refuse them."""
        refused = [pair for pair in self.sequences.items() if pair[0] not in self.spoiled]
        return f"ALTER TABLE notifications ADD CONSTRAINT refused CHECK ((order_id, sequence) NOT IN {tuple(refused)})"

    @property
    def to_be_parked(self) -> Mapping[str, bool]:
        """The ids of events that have to wait, and whether they wait for another one only."""
        return {str(change.event_id): not self._is_it(change) for change in self.changes if self._waits(change)}

    @property
    def to_be_recorded(self) -> Sequence[StatusChanged]:
        return [change for change in self.changes if not self._waits(change)]

    def _waits(self, change: StatusChanged) -> bool:
        return change.sequence >= self.sequences.get(change.order_id, len(STATUSES) + 1)

    async def end(self, inbox: Inbox) -> None:
        """Takes the causes away: what was spoiled is mended where it is parked."""
        await inbox.connection.execute("ALTER TABLE notifications DROP CONSTRAINT refused")
        mended = [
            (str(change.event_id), to_message(change).value)
            for change in self.changes
            if self._is_it(change) and change.order_id in self.spoiled
        ]
        await inbox.connection.executemany("UPDATE dead_letters SET value = $2 WHERE event_id = $1", mended)


def poisoned(changes: Sequence[StatusChanged]) -> Poison:
    order_ids = sorted({change.order_id for change in changes})[::POISONED_EACH]
    return Poison(
        changes,
        {order_id: 1 + number % len(STATUSES) for number, order_id in enumerate(order_ids)},
        {order_id: SPOILS[number // 2 % len(SPOILS)] for number, order_id in enumerate(order_ids) if number % 2 == 0},
    )


@dataclass(frozen=True)
class Parked:
    """What came of events of which some cannot be handled."""

    wrong_letters: Sequence[Letter]
    """Those that should not be there as they are, and those that should and are not."""
    others: Verdict
    """Of all that need not wait, before the replay."""
    latest: timedelta
    """The longest time that an event of an order without poison took."""
    letters: int
    listed: tuple[int, int]
    """The exit code of `list` and the number of its lines."""
    too_early: tuple[int, str]
    """The exit code of `replay` while the causes are there, and what it says."""
    replayed: tuple[int, str]
    """The same when they are gone."""
    left: int
    """How many letters are there after that."""
    verdict: Verdict
    """Of all events in the end."""

    @property
    def is_kept(self) -> bool:
        return (
            not self.wrong_letters
            and self.others.is_kept
            and self.latest < timedelta(seconds=LATEST_SECONDS)
            and self.listed == (0, self.letters)
            and self.too_early == (1, f"delivered 0, left {self.letters}\n")
            and self.replayed[0] == 0
            and self.replayed[1].endswith(f"delivered {self.letters}, left 0\n")
            and self.left == 0
            and self.verdict.is_kept
        )


async def park_poison(group: Group, inbox: Inbox, folder: Path, *, events: int, rate: float = RATE) -> Parked:
    """A hundredth of the events cannot be handled; then the causes are taken away and the letters delivered."""
    poison = poisoned(history(events))
    await inbox.connection.execute(poison.refusal)
    async with member(inbox, group):
        await group.until_it_has(1)
        await feed(group.topic, with_repeats(poison.changes), rate, poison.as_message)
        await group.until_it_has_handled_all()
    wrong_letters = await differing(await expected_letters(poison, group), inbox)
    others = await inbox.verdict(poison.to_be_recorded)
    latest = await inbox.connection.fetchval(LATEST, list(poison.sequences))

    async def run(command: str) -> tuple[int, str]:
        return await dead_letters(command, folder / command, inbox, group)

    exit_code, lines = await run("list")
    too_early = await run("replay")
    await poison.end(inbox)
    return Parked(
        wrong_letters=wrong_letters,
        others=others,
        latest=latest,
        letters=len(poison.to_be_parked),
        listed=(exit_code, len(lines.splitlines())),
        too_early=too_early,
        replayed=await run("replay"),
        left=await inbox.connection.fetchval("SELECT count(*) FROM dead_letters"),
        verdict=await inbox.verdict(poison.changes),
    )


async def expected_letters(poison: Poison, group: Group) -> set[Letter]:
    """The letters that have to be there, each with the place where its event came first."""
    waiting = poison.to_be_parked
    expected: dict[str, Letter] = {}
    async with reading(group.topic) as reader:
        for partition, offset in group.begin.items():
            reader.seek(partition, offset)
        while len(expected) < len(waiting):
            for partition, records in (await reader.getmany(timeout_ms=1000)).items():
                for record in records:
                    event_id = dict(record.headers)["event-id"].decode()
                    if event_id in waiting:
                        letter = event_id, partition.partition, record.offset, waiting[event_id]
                        expected.setdefault(event_id, letter)
    return set(expected.values())


async def differing(expected: set[Letter], inbox: Inbox) -> list[Letter]:
    """Letters that are there and should not be, and the other way round."""
    rows = await inbox.connection.fetch(LETTERS, BEHIND)
    return sorted(expected.symmetric_difference((*row,) for row in rows))


@dataclass(frozen=True)
class Stopped:
    """How a notifier has ended that was told to stop while it recorded a batch."""

    exit_code: int
    seconds: float
    recorded: int
    """How many events it had recorded then."""
    committed: int
    """How many of them do not come again."""
    not_logged_once: Sequence[tuple[int, str]]
    """What it and the next one have not told once together."""
    verdict: Verdict
    """When the next one was done."""

    @property
    def is_kept(self) -> bool:
        return (
            self.exit_code == 0
            and self.seconds < STOP_SECONDS
            and self.recorded == self.committed > 0
            and not self.not_logged_once
            and self.verdict.is_kept
        )


async def stop_while_recording(group: Group, inbox: Inbox, folder: Path, *, events: int) -> Stopped:
    """A notifier is told to stop while it records a batch, and another one goes on when it has ended."""
    changes = history(events)
    await inbox.slow_down(STATEMENT_SECONDS, "STATEMENT")
    async with running_notifier(folder / "stopped", inbox, group) as program:
        await feed(group.topic, changes)
        assert await inbox.until_it_records(len(changes))
        began = time.monotonic()
        program.process.terminate()
        exit_code = await asyncio.to_thread(program.exit_code, START_SECONDS)
        seconds = time.monotonic() - began
    recorded, committed = await inbox.size(), await group.handled()
    await inbox.speed_up()
    async with running_notifier(folder / "next", inbox, group):
        await group.until_it_has_handled_all()
    logged_once = {each for each, times in logged(*folder.iterdir()).items() if times == 1}
    changed = {(change.order_id, change.status.value) for change in changes}
    return Stopped(
        exit_code,
        seconds,
        recorded,
        committed,
        not_logged_once=sorted(changed - logged_once),
        verdict=await inbox.verdict(changes),
    )


@asynccontextmanager
async def receiving(server: str) -> AsyncIterator[tuple[Kafka, Group, Inbox]]:
    """A broker, a group and a database, all of them new."""
    with running_kafka() as kafka:
        group = await new_group(await order_events(kafka.bootstrap))
        async with new_inbox(server) as inbox:
            yield kafka, group, inbox


def in_words(verdict: Verdict) -> str:
    return (
        f"missing {len(verdict.missing)}, unknown {len(verdict.unknown)}, recorded twice {len(verdict.repeated)}, "
        f"orders out of order {len(verdict.disordered)}"
    )


async def killed_notifiers(server: str, folder: Path) -> Finding:
    async with receiving(server) as (_, group, inbox):
        killed = await kill_notifiers(group, inbox, folder, events=20_001, kills=20, resent=500, forced=False)
        found = f"{await inbox.size():,} notifications: {in_words(killed.verdict)}, told twice {killed.told_twice}"
    return Finding(found, killed.is_kept)


async def rebalances(server: str, _folder: Path) -> Finding:
    async with receiving(server) as (_, group, inbox):
        verdict = await rebalance(group, inbox, sizes=(3, 1) * 10, between=500, rate=100)
        found = f"{await inbox.size():,} notifications: {in_words(verdict)}"
    return Finding(found, verdict.is_kept)


async def poisoned_events(server: str, folder: Path) -> Finding:
    async with receiving(server) as (_, group, inbox):
        parked = await park_poison(group, inbox, folder, events=10_002, rate=200)
    found = (
        f"{parked.letters} letters, of which {len(parked.wrong_letters)} wrong; the others: {in_words(parked.others)}, "
        f"{parked.latest.total_seconds():.1f} s late at most (limit {LATEST_SECONDS}); "
        f"replayed: {in_words(parked.verdict)}, letters left {parked.left}"
    )
    return Finding(found, parked.is_kept)


async def restarted_broker(server: str, folder: Path) -> Finding:
    async with receiving(server) as (kafka, group, inbox):
        [broker] = kafka.brokers
        verdict = await lose_broker(group, inbox, folder, broker, times=5, events=300)
        found = f"{await inbox.size():,} notifications: {in_words(verdict)}"
    return Finding(found, verdict.is_kept)


RECEIVING: Mapping[str, Scenario] = {
    "killed-notifiers": Scenario(
        "R-17: 20,001 events, each fiftieth twice, 500 once more at the end; the notifier is killed 20 times",
        killed_notifiers,
    ),
    "rebalances": Scenario("R-18: 100 events a second come, and members join or leave every 5 s; 20 times", rebalances),
    "poison": Scenario(
        "R-20: of 10,002 events, 200 a second, a hundredth cannot be handled; then the causes are removed",
        poisoned_events,
    ),
    "restarted-broker": Scenario("the broker of a notifier is killed and starts again; 5 times", restarted_broker),
}
