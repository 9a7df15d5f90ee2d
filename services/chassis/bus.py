"""Events between services: what a topic promises, and a topic within one process that keeps the promises."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol
from zlib import crc32

from services.chassis.log import Logger

BATCH = 500
"""How many messages are handled at once, at most."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event on its way. Messages with the same key keep their order."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Received:
    """A message and its place in the topic."""

    message: Message
    partition: int
    offset: int


Handle = Callable[[Sequence[Received]], Awaitable[None]]
"""Handles messages of one partition, which are in their order. When it raises, all of them come again."""


class Publisher(Protocol):
    """The sending side of a topic."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Returns when all of them are stored. After an error any of them may be stored or not."""
        ...


class Consumer(Protocol):
    """The receiving side of a topic: a member of the group whose members share the partitions."""

    async def consume(self, handle: Handle, log: Logger) -> None:
        """Has every message handled, in order within a partition, until cancelled.

        A message whose handling fails comes again, and so may one that was handled when
        its consumer died; those behind it wait.
        """
        ...


@dataclass(slots=True)
class _Partition:
    messages: deque[Message] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    offset: int = 0
    """Of the first of the messages."""


class InProcessTopic:
    """A topic within one process, with one consumer.

    A message leaves its partition only after it was handled. It keeps nothing
    while nobody consumes: there is no disk behind it.
    """

    def __init__(self, partitions: int = 2, retry_seconds: float = 0.5) -> None:
        self._partitions = [_Partition() for _ in range(partitions)]
        self._retry_seconds = retry_seconds
        self._consumed = False

    async def publish(self, messages: Sequence[Message]) -> None:
        if not self._consumed:
            return
        for message in messages:
            partition = self._partitions[crc32(message.key) % len(self._partitions)]
            partition.messages.append(message)
            partition.arrived.set()

    async def consume(self, handle: Handle, log: Logger) -> None:
        self._consumed = True
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(len(self._partitions)):
                    group.create_task(self._consume(number, handle, log))
        finally:
            self._consumed = False

    async def _consume(self, number: int, handle: Handle, log: Logger) -> None:
        partition = self._partitions[number]
        while True:
            while partition.messages:
                batch = [
                    Received(message, number, partition.offset + index)
                    for index, message in enumerate(islice(partition.messages, BATCH))
                ]
                try:
                    await handle(batch)
                except Exception:
                    log.exception("events not handled", partition=number, offset=partition.offset)
                    await asyncio.sleep(self._retry_seconds)
                else:
                    partition.offset += len(batch)
                    for _ in batch:
                        partition.messages.popleft()
            partition.arrived.clear()
            await partition.arrived.wait()
