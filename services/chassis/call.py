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
    traceparent: str | None = None
    """The trace that it is part of, as W3C Trace Context writes it."""


current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)


def current_traceparent() -> str | None:
    """The trace that what happens now is part of, if there is one."""
    call = current_call.get()
    return call.traceparent if call else None
