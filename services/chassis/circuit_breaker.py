"""Spares callers the wait for a service that cannot be reached, and the service the calls."""

import asyncio

FAILURES = 20
"""After so many in a row, none of which has reached the service, it is taken for gone."""
OPEN_SECONDS = 1.0
"""How often somebody tries then whether it is back."""


class CircuitBreaker:
    """Counts the calls to one service that have not reached it."""

    def __init__(self) -> None:
        self._failures = 0
        self._tried_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the service is taken for gone."""
        return self._failures >= FAILURES

    def lets_through(self) -> bool:
        """Whether a call may be made: every one until the service is gone, then one now and again."""
        if not self.is_open:
            return True
        now = asyncio.get_running_loop().time()
        if now - self._tried_at < OPEN_SECONDS:
            return False
        self._tried_at = now
        return True

    def succeeded(self) -> None:
        """A call has reached the service."""
        self._failures = 0

    def failed(self) -> None:
        """A call has not reached it."""
        self._failures += 1
        if self._failures == FAILURES:
            self._tried_at = asyncio.get_running_loop().time()
