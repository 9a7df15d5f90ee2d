"""A clock that a test moves."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """Stands still at noon of a day until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 12, 0, 0, 678000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)
