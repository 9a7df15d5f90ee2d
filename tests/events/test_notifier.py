"""Each change of an order is recorded and told once, in order, whatever happens. The long forms: `make reliability`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from services.chassis import kafka as chassis_kafka
from services.chassis.background import background
from services.chassis.bus import Received
from services.chassis.kafka import KafkaConsumer, KafkaTopic
from services.chassis.log import get_logger
from tests.events.consumers import Group, Inbox, feed, history, new_group, new_inbox
from tests.events.relays import order_events
from tests.kafka import Kafka
from tests.reliability import notifications
from tests.waiting import WAIT_SECONDS

STUCK_SECONDS = 0.3

Logs = list[dict[str, object]]
Place = tuple[int, int]
"""A partition and an offset."""
Records = Sequence[ConsumerRecord[bytes, bytes]]


def attentive(*topics: str, **settings: Any) -> AIOKafkaConsumer:
    """A consumer that notices at once who has joined or left."""
    return AIOKafkaConsumer(*topics, **settings | {"heartbeat_interval_ms": 100})


@asynccontextmanager
async def receiving(group: Group) -> AsyncIterator[asyncio.Queue[Place]]:
    """The places of what a consumer receives that soon takes itself for stuck."""
    places: asyncio.Queue[Place] = asyncio.Queue()

    async def handle(batch: Sequence[Received]) -> None:
        for received in batch:
            places.put_nowait((received.partition, received.offset))

    consumer = KafkaConsumer(group.topic, group.name, STUCK_SECONDS)
    async with background(lambda: consumer.consume(handle, get_logger("tested"))):
        yield places


def replacements(logs: Logs) -> list[object]:
    return [line["error"] for line in logs if line["event"] == "consumer replaced"]


@pytest.fixture
async def topic(own_kafka: Kafka) -> KafkaTopic:
    return await order_events(own_kafka.bootstrap)


@pytest.fixture
async def group(topic: KafkaTopic) -> Group:
    return await new_group(topic)


@pytest.fixture
async def inbox(server: str) -> AsyncIterator[Inbox]:
    async with new_inbox(server) as inbox:
        yield inbox


async def test_whoever_is_killed_at_work_has_lost_nothing_and_repeated_nothing(
    group: Group, inbox: Inbox, tmp_path: Path
) -> None:
    killed = await notifications.kill_notifiers(group, inbox, tmp_path, events=600, kills=2, resent=100, forced=True)

    assert killed.is_kept, killed


async def test_members_that_come_and_go_lose_nothing_and_repeat_nothing(
    group: Group, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    monkeypatch.setattr(chassis_kafka, "AIOKafkaConsumer", attentive)

    verdict = await notifications.rebalance(group, inbox, sizes=(3, 1, 3), between=300)

    assert verdict.is_kept, verdict
    told = [(line["order_id"], line["status"]) for line in logs if line["event"] == "order status changed"]
    assert len(told) == len(set(told)) == await inbox.size()


@pytest.mark.long
async def test_what_cannot_be_handled_is_parked_holds_up_its_order_only_and_can_be_delivered_later(
    group: Group, inbox: Inbox, tmp_path: Path
) -> None:
    parked = await notifications.park_poison(group, inbox, tmp_path, events=500)

    assert parked.letters > 5
    assert parked.is_kept, parked


async def test_who_is_told_to_stop_finishes_its_batch_and_nobody_handles_that_again(
    group: Group, inbox: Inbox, tmp_path: Path
) -> None:
    stopped = await notifications.stop_while_recording(group, inbox, tmp_path, events=150)

    assert stopped.is_kept, stopped


@pytest.mark.long
async def test_when_the_broker_was_killed_and_is_back_events_come_again(
    own_kafka: Kafka, group: Group, inbox: Inbox, tmp_path: Path
) -> None:
    [broker] = own_kafka.brokers

    verdict = await notifications.lose_broker(group, inbox, tmp_path, broker, times=1, events=150)

    assert verdict.is_kept, verdict


def get_stuck(consumer: AIOKafkaConsumer) -> None:
    consumer.pause(*consumer.assignment())


def fail(_consumer: AIOKafkaConsumer) -> None:
    raise KafkaError


@pytest.mark.parametrize(("trouble", "error"), [(get_stuck, "StuckError"), (fail, "KafkaError")])
async def test_a_consumer_that_is_stuck_or_fails_is_replaced(
    group: Group,
    trouble: Callable[[AIOKafkaConsumer], None],
    error: str,
    monkeypatch: pytest.MonkeyPatch,
    logs: Logs,
) -> None:
    getmany = AIOKafkaConsumer.getmany
    first: list[AIOKafkaConsumer] = []

    async def once(consumer: AIOKafkaConsumer, **settings: int) -> Mapping[TopicPartition, Records]:
        """The first consumer receives something once."""
        if consumer in first:
            trouble(consumer)
        records = await getmany(consumer, **settings)
        if records and not first:
            first.append(consumer)
        return records

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", once)
    async with asyncio.timeout(WAIT_SECONDS), receiving(group) as received:
        before, later = history(3), history(150)
        await feed(group.topic, before)
        places = [await received.get() for _ in before]
        await feed(group.topic, later)
        places += [await received.get() for _ in later]

    assert replacements(logs) == [error]
    assert len(places) == len(set(places))


async def test_a_consumer_that_has_received_all_is_kept(
    group: Group, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    end_offsets: Callable[..., Awaitable[object]] = AIOKafkaConsumer.end_offsets
    checks: asyncio.Queue[None] = asyncio.Queue()

    async def counted(consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]) -> object:
        checks.put_nowait(None)
        return await end_offsets(consumer, partitions)

    monkeypatch.setattr(AIOKafkaConsumer, "end_offsets", counted)
    async with asyncio.timeout(WAIT_SECONDS), receiving(group):
        for _ in range(3):
            await checks.get()

    assert replacements(logs) == []
