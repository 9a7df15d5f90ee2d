"""The call that is being served, known to everything that happens on its behalf."""

from contextvars import ContextVar
from dataclasses import dataclass

from services.chassis.traces import Span


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as a valid token says."""

    subject: str
    user_id: int | None
    """None if it is a service, which may act for any user."""

    @property
    def is_service(self) -> bool:
        return self.user_id is None


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
    caller: Caller | None = None
    """Who calls; None while access is off, and for an RPC that anybody may call."""
    rpc: str = ""
    """What is called: `LomsService/OrderCreate`."""
    span: Span | None = None
    """What is told of it; None if its trace is not sampled."""


current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)


def current_traceparent() -> str | None:
    """The trace that what happens now is part of, if there is one."""
    call = current_call.get()
    return call.traceparent if call else None


def current_span() -> Span | None:
    """The span of what happens now, if its trace is sampled."""
    call = current_call.get()
    return call.span if call else None


def current_owner() -> int | None:
    """The user to whom all must belong that this call gets to see or changes. None if that does not matter:
    a service calls, or access is off.
    """
    call = current_call.get()
    return call.caller.user_id if call and call.caller else None
