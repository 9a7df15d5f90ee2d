"""Waking whoever waits for a change, in this process or in another one that works with the same database."""

import asyncio
from contextlib import suppress

import asyncpg

from services.chassis.background import Loop
from services.chassis.log import Logger
from services.chassis.postgres import LOST, Database

TELL_SECONDS = 0.01
"""How long rings are gathered into one before other processes are told."""
RECONNECT_SECONDS = 1


class Bell:
    """Wakes who waits for it, within this process."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self, *, elsewhere: bool = True) -> None:
        """Wakes who waits, or who will wait next; in other processes, too, if there is need `elsewhere`."""
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Waits until it rings, or that long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()


class SharedBell(Bell):
    """Wakes who waits for it in any process that has the same database.

    That is the fast way only: a ring is lost while a connection is, and nobody
    waits for a ring alone.
    """

    def __init__(self, database: Database, direct_url: str, channel: str, log: Logger) -> None:
        super().__init__()
        self._database = database
        self._direct_url = direct_url
        self._channel = channel
        self._log = log
        self._to_tell = asyncio.Event()

    def ring(self, *, elsewhere: bool = True) -> None:
        super().ring()
        if elsewhere:
            self._to_tell.set()

    @property
    def loops(self) -> tuple[Loop, Loop]:
        """What has to run beside: the one that tells other processes, and the one that hears them."""
        return self._tell, self._hear

    async def _tell(self) -> None:
        """Tells in a transaction of its own: a NOTIFY within that of the change has all commits wait for each other."""
        while True:
            await self._to_tell.wait()
            self._to_tell.clear()
            with suppress(Exception):  # who is not told finds out by himself
                await self._database.write(
                    lambda connection: connection.execute("SELECT pg_notify($1, '')", self._channel), repeatable=True
                )
            await asyncio.sleep(TELL_SECONDS)

    async def _hear(self) -> None:
        while True:
            try:
                await self._hear_until_lost()
            except (*LOST, TimeoutError, asyncpg.PostgresError) as error:
                self._log.warning("no rings are heard", channel=self._channel, error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _hear_until_lost(self) -> None:
        connection = await asyncpg.connect(self._direct_url, timeout=RECONNECT_SECONDS)
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(self._channel, lambda *_: self.ring(elsewhere=False))
            await lost.wait()
        finally:
            connection.terminate()
