"""Events between services: what a broker promises, and an in-process broker that keeps the promises."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from zlib import crc32

from services.chassis.log import Logger


@dataclass(frozen=True, slots=True)
class Message:
    """An event on its way. Messages with the same key keep their order."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


Handle = Callable[[Message], Awaitable[None]]


class Publisher(Protocol):
    """The sending side of a topic."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Returns when all of them are stored. After an error any of them may be stored or not."""
        ...


@dataclass(slots=True)
class _Partition:
    messages: deque[Message] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class InProcessTopic:
    """A topic within one process, with partitions and one consumer group.

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
        """Handles every message, in order within a partition, until cancelled.

        A message whose handling fails is logged and tried again; those behind it wait.
        """
        self._consumed = True
        try:
            async with asyncio.TaskGroup() as group:
                for partition in self._partitions:
                    group.create_task(self._consume(partition, handle, log))
        finally:
            self._consumed = False

    async def _consume(self, partition: _Partition, handle: Handle, log: Logger) -> None:
        while True:
            while partition.messages:
                try:
                    await handle(partition.messages[0])
                except Exception:
                    log.exception("event not handled", key=partition.messages[0].key.decode(errors="replace"))
                    await asyncio.sleep(self._retry_seconds)
                else:
                    partition.messages.popleft()
            partition.arrived.clear()
            await partition.arrived.wait()
