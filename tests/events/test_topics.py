"""What a topic promises, in the process as on Kafka."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from services.chassis.bus import Consumer, Handle, InProcessTopic, Message, Publisher, Received
from services.chassis.kafka import KafkaConsumer, KafkaPublisher, KafkaTopic
from services.chassis.log import get_logger
from tests.kafka import create_topic
from tests.waiting import until

PARTITIONS = 2
KEYS = 20
WAYS = ("memory", "kafka")


@dataclass(frozen=True)
class Topic:
    """Both sides of an empty topic."""

    publisher: Publisher
    consumer: Consumer

    @asynccontextmanager
    async def consumed(self, handle: Handle) -> AsyncIterator[None]:
        """A consumer within the block, which is cancelled at its end."""
        consuming = asyncio.create_task(self.consumer.consume(handle, get_logger("tested")))
        await asyncio.sleep(0)  # a topic in the process keeps nothing for a consumer that is not there yet
        try:
            yield
        finally:
            consuming.cancel()
            with suppress(asyncio.CancelledError):
                await consuming


@pytest.fixture(params=WAYS)
async def topic(request: pytest.FixtureRequest) -> AsyncIterator[Topic]:
    if request.param == "memory":
        in_process = InProcessTopic(PARTITIONS, retry_seconds=0.01)
        yield Topic(in_process, in_process)
        return
    bootstrap = request.getfixturevalue("kafka")
    on_kafka = KafkaTopic(bootstrap, await create_topic(bootstrap, PARTITIONS))
    publisher = KafkaPublisher(on_kafka)
    yield Topic(publisher, KafkaConsumer(on_kafka, group=on_kafka.name))
    await publisher.close()


def messages(count: int, keys: int = KEYS) -> list[Message]:
    """Messages whose values are their numbers, with the keys in turn."""
    return [Message(b"%d" % (number % keys), b"%d" % number, (("name", b"header"),)) for number in range(count)]


class Handled:
    """Keeps what it is given, and fails on it first if it is to."""

    def __init__(self, failures: int = 0) -> None:
        self.received: list[Received] = []
        self.failed: list[Received] = []
        self._failures = failures

    async def __call__(self, received: Sequence[Received]) -> None:
        if self._failures > 0:
            self._failures -= 1
            self.failed += received
            raise ValueError
        self.received += received

    @property
    def messages(self) -> list[Message]:
        return [one.message for one in self.received]

    async def until_there_are(self, count: int) -> None:
        async def are_there() -> bool:
            return len(self.received) >= count

        await until(are_there)


async def test_messages_of_a_key_come_in_order_and_whole(topic: Topic) -> None:
    sent, handled = messages(1000), Handled()
    async with topic.consumed(handled):
        for first in range(0, len(sent), 100):
            await topic.publisher.publish(sent[first : first + 100])
        await handled.until_there_are(len(sent))

    assert len(handled.messages) == len(sent)
    for key in {message.key for message in sent}:
        assert [one for one in handled.messages if one.key == key] == [one for one in sent if one.key == key]


async def test_a_key_has_one_partition_and_a_partition_has_no_gap(topic: Topic) -> None:
    handled = Handled()
    async with topic.consumed(handled):
        await topic.publisher.publish(messages(200))
        await handled.until_there_are(200)

    partitions, offsets = defaultdict(set), defaultdict(list)
    for one in handled.received:
        partitions[one.message.key].add(one.partition)
        offsets[one.partition].append(one.offset)
    assert {len(own) for own in partitions.values()} == {1}
    assert len(offsets) == PARTITIONS
    assert all(own == [*range(len(own))] for own in offsets.values())


async def test_what_was_not_handled_comes_again_before_what_is_behind_it(topic: Topic) -> None:
    sent, handled = messages(10, keys=1), Handled(failures=3)
    async with topic.consumed(handled):
        for message in sent:
            await topic.publisher.publish([message])
        await handled.until_there_are(len(sent))

    assert handled.messages == sent
    assert handled.failed[0].message == sent[0]


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_consumer_leaves_the_next_one_gets(topic: Topic, *, fails: bool) -> None:
    sent, first, rest = messages(1200, keys=1), Handled(), Handled()
    is_in_the_middle, goes_on = asyncio.Event(), asyncio.Event()

    async def handle(received: Sequence[Received]) -> None:
        if first.received:
            is_in_the_middle.set()
            await goes_on.wait()
            if fails:
                raise ValueError
        await first(received)

    async with topic.consumed(handle):
        await topic.publisher.publish(sent)
        await is_in_the_middle.wait()
        asyncio.get_running_loop().call_soon(goes_on.set)
    assert 0 < len(first.received) < len(sent)

    async with topic.consumed(rest):
        await rest.until_there_are(len(sent) - len(first.received))

    assert first.messages + rest.messages == sent
