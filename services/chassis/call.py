"""The call that is being served, known to everything that happens on its behalf."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Call:
    """What a call brought with it."""

    token: str | None
    """The bearer token, without the word `Bearer`."""
    request_id: str
    """Names the call in the logs of every service that it reaches."""
    deadline: float
    """When it ends, on the clock of the event loop."""
    deadline_is_ours: bool
    """Whether the server has to end it then. gRPC itself ends a call at the deadline that its caller set."""


current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)
