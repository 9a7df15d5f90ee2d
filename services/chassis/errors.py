"""Errors that a caller may see.

A service derives its own from the class with the right code and gives it the
`reason` that the contract lists for the RPC. Everything that is not an AppError
is unforeseen: the caller learns nothing of it but an id.
"""

from typing import ClassVar

from chassis.v1 import options_pb2 as options


class AppError(Exception):
    """What a caller may know: a code, a reason, a sentence and facts about the cause."""

    code: ClassVar[options.Code.ValueType]
    reason: str = ""

    def __init__(self, message: str, *, reason: str = "", **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.reason
        self.facts = {name: str(value) for name, value in facts.items()}


class InvalidArgumentError(AppError):
    """The message breaks a rule."""

    code = options.CODE_INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"


class UnauthenticatedError(AppError):
    """There is no valid token with the call."""

    code = options.CODE_UNAUTHENTICATED
    reason = "TOKEN_INVALID"


class PermissionDeniedError(AppError):
    """The caller is known and may not do this."""

    code = options.CODE_PERMISSION_DENIED
    reason = "PERMISSION_DENIED"


class NotFoundError(AppError):
    """What was asked for does not exist."""

    code = options.CODE_NOT_FOUND


class FailedPreconditionError(AppError):
    """The state of things does not allow it."""

    code = options.CODE_FAILED_PRECONDITION


class AbortedError(AppError):
    """It collided with something else that was done."""

    code = options.CODE_ABORTED


class ResourceExhaustedError(AppError):
    """A rate or a quota is used up."""

    code = options.CODE_RESOURCE_EXHAUSTED
    reason = "RATE_LIMIT"


class OverloadedError(ResourceExhaustedError):
    """The service has as much to do as it can. Who asks again after `retry_seconds` may have more luck."""

    reason = "OVERLOADED"

    def __init__(self, message: str, retry_seconds: float) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class DeadlineExceededError(AppError):
    """The time ran out."""

    code = options.CODE_DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class UnavailableError(AppError):
    """The service, or one behind it, cannot be reached."""

    code = options.CODE_UNAVAILABLE
    reason = "UNAVAILABLE"


class InternalError(AppError):
    """A fault of the service."""

    code = options.CODE_INTERNAL
    reason = "INTERNAL"
