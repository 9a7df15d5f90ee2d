"""Orders through the gateway at a steady rate, by callers who ask again until they have an answer."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import httpx

from services.token import Signer

PER_SECOND = 20
SKU = 139275865
"""Of which there are enough."""
GIVE_UP_SECONDS = 60
PAUSE_SECONDS = 0.25


@dataclass(frozen=True)
class Acknowledged:
    """An order that its caller knows of."""

    order_id: int
    user_id: int
    asked_at: float
    took: float
    """Seconds from the first attempt to the answer."""


@dataclass
class Load:
    """Each user orders once: the even ones what is in a cart, the odd ones directly."""

    http: httpx.AsyncClient
    signs: Signer
    acknowledged: list[Acknowledged] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    """Answers that no other attempt would change, and callers who gave up."""
    retried: Counter[str] = field(default_factory=Counter)
    """Why callers have asked again."""
    waiting: dict[int, float] = field(default_factory=dict)
    """The users without an answer, and when they have asked."""

    async def order(self, user_id: int) -> None:
        """Orders, and remembers what came of it."""
        self.waiting[user_id] = time.monotonic()
        await self._order(user_id)
        del self.waiting[user_id]

    def waiting_since(self, moment: float) -> int:
        """How many have asked before this moment and have no answer."""
        return sum(asked_at < moment for asked_at in self.waiting.values())

    async def _order(self, user_id: int) -> None:
        asked_at = self.waiting[user_id]
        headers = {"authorization": f"Bearer {self.signs.of_user(user_id)}", "idempotency-key": str(uuid4())}
        item = {"sku": SKU, "count": 1}
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                if user_id % 2:
                    path, body = "/order/create", {"userId": user_id, "items": [item]}
                else:
                    await self._answer(f"/user/{user_id}/cart/{SKU}", {"count": 1}, headers)
                    path, body = "/cart/checkout", {"userId": user_id}
                answer = await self._answer(path, body, headers)
        except TimeoutError:
            self.refused["no answer"] += 1
            return
        if answer.is_success:
            took = time.monotonic() - asked_at
            self.acknowledged.append(Acknowledged(int(answer.json()["orderId"]), user_id, asked_at, took))
        else:
            self.refused[f"{answer.status_code} {answer.json()['message']}"] += 1

    async def _answer(self, path: str, body: dict[str, object], headers: dict[str, str]) -> httpx.Response:
        """The answer that stays, however often it is asked for."""
        while True:
            try:
                answer = await self.http.post(path, json=body, headers=headers)
            except httpx.TransportError as error:
                self.retried[type(error).__name__] += 1
            else:
                if answer.status_code < 500 and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    return answer
                self.retried[str(answer.status_code)] += 1
            await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def load(url: str, signs: Signer) -> AsyncIterator[Load]:
    """Orders come until the block ends; then those that are under way get their answers."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=10, limits=limits) as http:
        loaded = Load(http, signs)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(_orders(loaded, group, stop))
            try:
                yield loaded
            finally:
                stop.set()


async def _orders(loaded: Load, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
    begun_at, user_id = time.monotonic(), 0
    while not stop.is_set():
        user_id += 1
        group.create_task(loaded.order(user_id))
        await asyncio.sleep(begun_at + user_id / PER_SECOND - time.monotonic())
