"""The in-process topic: order, retries, and what is kept."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from zlib import crc32

from services.chassis.background import background
from services.chassis.bus import Handle, InProcessTopic, Message, Received
from services.chassis.log import get_logger

ONE, OTHER = b"1", b"4"
"""Keys of two partitions."""


@asynccontextmanager
async def consumed(topic: InProcessTopic, handle: Handle) -> AsyncIterator[None]:
    async with background(lambda: topic.consume(handle, get_logger("tested"))):
        await asyncio.sleep(0)  # the consumer begins
        yield


def messages(key: bytes, values: Iterable[int]) -> list[Message]:
    return [Message(key, f"{key.decode()}/{value}".encode()) for value in values]


class Inbox(asyncio.Queue[bytes]):
    """Takes what was handled."""

    async def handle(self, batch: Sequence[Received]) -> None:
        await asyncio.sleep(0)
        for received in batch:
            self.put_nowait(received.message.value)

    async def next(self, count: int) -> list[bytes]:
        async with asyncio.timeout(5):
            return [await self.get() for _ in range(count)]


def test_the_keys_of_these_tests_are_in_two_partitions() -> None:
    assert crc32(ONE) % 2 != crc32(OTHER) % 2


async def test_messages_of_a_key_keep_their_order() -> None:
    topic, inbox = InProcessTopic(), Inbox()
    keys = [str(number).encode() for number in range(6)]
    async with consumed(topic, inbox.handle):
        for value in range(20):
            await topic.publish([message for key in keys for message in messages(key, [value])])
        handled = await inbox.next(120)

    for key in keys:
        of_key = [value for value in handled if value.startswith(key + b"/")]
        assert of_key == [message.value for message in messages(key, range(20))]


async def test_a_message_that_fails_is_tried_again_and_only_those_behind_it_wait(logs: list[dict[str, object]]) -> None:
    topic, inbox, mended = InProcessTopic(retry_seconds=0.001), Inbox(), asyncio.Event()
    failures = 0

    async def handle(batch: Sequence[Received]) -> None:
        nonlocal failures
        values = [received.message.value for received in batch]
        if b"1/1" in values and not mended.is_set():
            failures += 1
            raise ValueError("not yet")
        await inbox.handle(batch)
        if b"4/2" in values:
            mended.set()

    async with consumed(topic, handle):
        await topic.publish(messages(ONE, [1, 2]))
        await topic.publish(messages(OTHER, [1, 2]))
        handled = await inbox.next(4)

    assert handled == [b"4/1", b"4/2", b"1/1", b"1/2"]
    assert failures >= 1
    assert [(line["event"], line["offset"]) for line in logs] == [("events not handled", 0)] * failures


async def test_what_is_published_while_nobody_consumes_is_dropped() -> None:
    topic, inbox = InProcessTopic(), Inbox()
    await topic.publish(messages(ONE, [1]))
    async with consumed(topic, inbox.handle):
        await topic.publish(messages(ONE, [2]))
        assert await inbox.next(1) == [b"1/2"]
    await topic.publish(messages(ONE, [3]))
    async with consumed(topic, inbox.handle):
        await topic.publish(messages(ONE, [4]))
        assert await inbox.next(1) == [b"1/4"]


async def test_a_message_whose_handling_was_cut_off_is_handled_by_the_next_consumer() -> None:
    topic, inbox, begun = InProcessTopic(), Inbox(), asyncio.Event()

    async def hang(_batch: Sequence[Received]) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with consumed(topic, hang):
        await topic.publish(messages(ONE, [1, 2]))
        await begun.wait()
    async with consumed(topic, inbox.handle):
        assert await inbox.next(2) == [b"1/1", b"1/2"]
        await topic.publish(messages(ONE, [3]))
        assert await inbox.next(1) == [b"1/3"]
