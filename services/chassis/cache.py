"""Remembers the answers of an RPC for as long as its contract says.

    async with Cache(get_product, GetProductResponse, ask, store) as cache:
        found = await cache.found([1, 2, 3])
        answer = found[1] if 1 in found else await cache.loaded(1)

What each guarantee relies on:

- one question at a time for a key, within this process: who asks while an answer is on its way
  waits for that one, until it is stored;
- a caller that is cancelled takes away nobody's answer: a question belongs to the cache. It ends
  with the last who waits for it, and then stores nothing;
- a stale answer is given at once: it is asked for anew in the background, by the cache, on nobody's
  deadline, and few at a time, because whoever waits has no answer at all;
- what was answered is kept at hand, too: the store is looked at when that is not fresh, or not there;
- never the answer to another question: an entry says which name it is stored under, and
  a checksum tells whether it is whole. What is not so counts as a miss.
"""

import asyncio
import struct
import time
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from google.protobuf.message import DecodeError, Message

from services.chassis.contract import Rpc
from services.chassis.errors import AppError, DeadlineExceededError, UnauthenticatedError
from services.chassis.metrics import CACHE_ERRORS, CACHE_REQUESTS, Counts

K = TypeVar("K", bound="int | str")
M = TypeVar("M", bound=Message)

FORMAT = 1
"""Another one for each way to write entries, so that none is read in the wrong way."""
UNKNOWN_SECONDS = 10.0
"""How long it is remembered, at most, that there is no answer: who adds one wants to see it."""
REFRESHES_AT_ONCE = 5
LOCAL_ENTRIES = 10_000

_CHECKSUM = struct.Struct(">I")
_HEADER = struct.Struct(">d?H")
"""Until when it is fresh, whether there is an answer, and the length of the name, which follows before the answer."""


class Store(Protocol):
    """Where entries are kept. What it cannot do it does not do; it raises nothing."""

    errors: int
    """How many entries it could not read or write."""

    async def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """The entries that there are."""
        ...

    async def write(self, name: str, value: bytes, seconds: float) -> None:
        """Keeps an entry for so long."""
        ...


class LocalStore:
    """Entries in the memory of the process. When there are too many, the one that nobody has read for longest goes."""

    def __init__(self, capacity: int = LOCAL_ENTRIES, clock: Callable[[], float] = time.monotonic) -> None:
        self.errors = 0
        self._capacity = capacity
        self._clock = clock
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    async def read(self, names: Iterable[str]) -> dict[str, bytes]:
        now = self._clock()
        found = {}
        for name in names:
            value, ends_at = self._entries.get(name, (b"", now))
            if ends_at > now:
                self._entries.move_to_end(name)
                found[name] = value
            else:
                self._entries.pop(name, None)
        return found

    async def write(self, name: str, value: bytes, seconds: float) -> None:
        self._entries[name] = value, self._clock() + seconds
        self._entries.move_to_end(name)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)


@dataclass(eq=False)
class _Load(Generic[M]):
    """A question on its way, and how many wait for its answer."""

    answer: "asyncio.Future[M | None]"
    waiting: int = 0
    task: "asyncio.Task[None]" = field(init=False)


class Cache(Generic[K, M]):
    """The answers of an RPC, by key. `ask` gives None for a key that the service does not know.

    What other processes with the same store remember, it remembers, too; their clocks should agree.
    The counters only grow. `at_hand` is how many fresh answers are kept without a look at the store.
    """

    def __init__(  # noqa: PLR0913  the last two are for those who look closely
        self,
        called: Rpc,
        answer: type[M],
        ask: Callable[[K], Awaitable[M | None]],
        store: Store,
        clock: Callable[[], float] = time.time,
        *,
        at_hand: int = LOCAL_ENTRIES,
    ) -> None:
        assert called.cache is not None
        self.hits = self.misses = self.stale = self.failed_refreshes = 0
        self._requests = Counts(CACHE_REQUESTS, *called.name.split("/"))
        self._times = called.cache
        self._prefix = f"cache/{FORMAT}{called.path}/"
        self._answer = answer
        self._ask = ask
        self._store = store
        self._clock = clock
        self._at_hand = at_hand
        self._kept: dict[K, tuple[M | None, float]] = {}
        """Answers, and until when they are fresh: for so long the store is not asked."""
        self._loads: dict[K, _Load[M]] = {}
        self._refreshed: set[K] = set()
        self._refreshing = asyncio.Semaphore(REFRESHES_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    @property
    def errors(self) -> int:
        """How many entries could not be read, written or refreshed."""
        return self._store.errors + self.failed_refreshes

    async def found(self, keys: Iterable[K]) -> dict[K, M | None]:
        """What is remembered of these keys: None of one that is unknown, nothing of one that must be asked for."""
        now = self._clock()
        found: dict[K, M | None] = {}
        names: dict[str, K] = {}
        for key in keys:
            fresh = self._kept.get(key)
            if fresh is not None and now < fresh[1]:
                found[key] = fresh[0]
            else:
                names[f"{self._prefix}{key}"] = key
        self._hit(len(found))
        if names:
            found.update(await self._stored(names))
        return found

    async def _stored(self, names: Mapping[str, K]) -> dict[K, M | None]:
        """What of these the store remembers."""
        entries = await self._store.read(names)
        found: dict[K, M | None] = {}
        for name, key in names.items():
            entry = self._decoded(name, entries.get(name, b"")) or self._stale_at_hand(key)
            if entry is None:
                self.misses += 1
                self._requests.add("miss")
                continue
            found[key], fresh_until = entry
            if self._clock() < fresh_until:
                self._hit(1)
                self._keep(key, entry)
            else:
                self.stale += 1
                self._requests.add("stale")
                self._refresh(key)
        return found

    def _hit(self, count: int) -> None:
        self.hits += count
        self._requests.add("hit", count)

    def _stale_at_hand(self, key: K) -> tuple[M | None, float] | None:
        """An answer that was kept and may still be given: who has no store has that."""
        entry = self._kept.get(key)
        if entry is None or entry[0] is None or self._clock() >= entry[1] + self._times.stale:
            return None
        return entry

    def _keep(self, key: K, entry: tuple[M | None, float]) -> None:
        """Keeps an entry at hand. When there are too many, the one that came first goes."""
        self._kept[key] = entry
        if len(self._kept) > self._at_hand:
            del self._kept[next(iter(self._kept))]

    async def loaded(self, key: K) -> M | None:
        """Asks for the answer, together with all who do so now, and remembers it."""
        while True:
            load = self._loads.get(key)
            is_own = load is None
            try:
                return await self._waited(key, load or self._begun(key))
            except (DeadlineExceededError, UnauthenticatedError):
                if is_own:
                    raise  # otherwise the deadline, or the token, was that of somebody else

    def _begun(self, key: K) -> _Load[M]:
        load = self._loads[key] = _Load[M](asyncio.get_running_loop().create_future())
        load.task = self._task(self._load(key, load))
        return load

    async def _waited(self, key: K, load: _Load[M]) -> M | None:
        load.waiting += 1
        try:
            return await asyncio.shield(load.answer)
        finally:
            load.waiting -= 1
            if load.waiting == 0 and not load.answer.done():
                self._forget(key, load)
                load.task.cancel()

    async def _load(self, key: K, load: _Load[M]) -> None:
        try:
            try:
                answer = await self._ask(key)
            except Exception as error:  # noqa: BLE001  whoever waits is told
                load.answer.set_exception(error)
                return
            load.answer.set_result(answer)
            await self._remember(key, answer)
        finally:
            load.answer.cancel()
            self._forget(key, load)

    def _forget(self, key: K, load: _Load[M]) -> None:
        if self._loads.get(key) is load:
            del self._loads[key]

    def _refresh(self, key: K) -> None:
        if key not in self._refreshed:
            self._refreshed.add(key)
            self._task(self._refresh_in_turn(key), Context())

    async def _refresh_in_turn(self, key: K) -> None:
        try:
            async with self._refreshing:
                await self.loaded(key)
        except AppError:
            self.failed_refreshes += 1
            CACHE_ERRORS.inc()
        finally:
            self._refreshed.discard(key)

    def _task(self, work: Any, context: Context | None = None) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _remember(self, key: K, answer: M | None) -> None:
        fresh, stale = self._times.time_to_live, self._times.stale
        if answer is None:
            fresh, stale = min(fresh, UNKNOWN_SECONDS), 0.0
        name, fresh_until = f"{self._prefix}{key}", self._clock() + fresh
        self._keep(key, (answer, fresh_until))
        await self._store.write(name, _encoded(name, answer, fresh_until), fresh + stale)

    def _decoded(self, name: str, entry: bytes) -> tuple[M | None, float] | None:
        """The answer and until when it is fresh; nothing if the entry is not whole or has another name."""
        checksum, body = entry[: _CHECKSUM.size], entry[_CHECKSUM.size :]
        if len(body) < _HEADER.size or checksum != _CHECKSUM.pack(zlib.crc32(body)):
            return None
        fresh_until, is_known, name_length = _HEADER.unpack_from(body)
        content = body[_HEADER.size :]
        if content[:name_length] != name.encode():
            return None
        if not is_known:
            return None, fresh_until
        try:
            return self._answer.FromString(content[name_length:]), fresh_until
        except DecodeError:
            return None


def _encoded(name: str, answer: Message | None, fresh_until: float) -> bytes:
    encoded_name = name.encode()
    header = _HEADER.pack(fresh_until, answer is not None, len(encoded_name))
    body = header + encoded_name + (answer.SerializeToString() if answer is not None else b"")
    return _CHECKSUM.pack(zlib.crc32(body)) + body
