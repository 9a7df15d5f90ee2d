"""The errors of an operation: what the RPC lists, what any RPC may answer, and what the gateway answers itself."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from codegen.descriptors import Contract, ContractError
from codegen.openapi.access import Refusal
from codegen.openapi.bindings import Binding
from codegen.openapi.kinds import Place, Schema, Value, base

_STATUS = "google.rpc.Status"
_PREFIX = "#/components"
_TYPES = "type.googleapis.com/google.rpc."

# Codes of gRPC
_INVALID_ARGUMENT, _DEADLINE_EXCEEDED, _RESOURCE_EXHAUSTED, _UNAUTHENTICATED = 3, 4, 8, 16

_BAD_REQUEST: Schema = {
    "@type": f"{_TYPES}BadRequest",
    "fieldViolations": [{"field": "sku", "description": "must be greater than 0", "reason": "uint32.gt"}],
}
_RETRY_INFO: Schema = {"@type": f"{_TYPES}RetryInfo", "retryDelay": "0.500s"}
_RETRY_AFTER: Schema = {
    "description": "In how many seconds to try again: the `retryDelay` of a google.rpc.RetryInfo in `details`, rounded "
    "up. Without one there is no such header.",
    "schema": {"type": "integer", "minimum": 0},
}

# The reasons of the errors that any RPC may end with are the names of their codes, but for these.
_COMMON_REASONS = {_RESOURCE_EXHAUSTED: "OVERLOADED"}


@dataclass(frozen=True)
class _Cause:
    """One way in which an operation may fail."""

    status: int
    code: int
    text: str
    label: str = ""
    details: tuple[Schema, ...] = ()
    reason: str = ""
    """Only an error that the RPC lists has one."""

    @property
    def example(self) -> Schema:
        """What it looks like."""
        return {"code": self.code, "message": self.text, "details": list(self.details)}


def responses(
    contract: Contract, binding: Binding, shared: dict[str, Schema], refusals: Iterable[Refusal] = ()
) -> dict[str, Schema]:
    """The error responses by status. Those that know no operation go to `shared` and are referred to.

    A refusal comes in place of what the RPC says of the same code and reason.
    """
    found: dict[str, Schema] = {}
    causes = sorted(_causes(contract, binding, refusals), key=lambda cause: cause.status)
    for status, group in groupby(causes, key=lambda cause: cause.status):
        here = list(group)
        response = _response(here)
        if any(cause.reason for cause in here):
            found[str(status)] = response
        else:
            name = f"Error{status}"
            shared[name] = response
            found[str(status)] = {"$ref": f"{_PREFIX}/responses/{name}"}
    return found


def _causes(contract: Contract, binding: Binding, refusals: Iterable[Refusal]) -> Iterator[_Cause]:
    codes = contract.codes()
    listed = (*contract.policy(binding.method).errors, *refusals)
    for error in {(each.code, each.reason): each for each in listed}.values():
        if error.code not in codes or not error.reason:
            raise ContractError(f"{binding.method.full_name}: an error without a code or a reason")
        status = codes[error.code][1].http_status
        yield _Cause(status, error.code, error.description, error.reason, (_error_info(error.reason),), error.reason)
    for number, (name, code) in codes.items():
        if code.common:
            label = _COMMON_REASONS.get(number, name)
            yield _Cause(code.http_status, number, code.common, label, _common_details(number, label))
    yield _Cause(401, _UNAUTHENTICATED, "The header `Authorization` has a character that is not printable.")
    yield _Cause(431, _RESOURCE_EXHAUSTED, "The headers are longer than the gateway takes.")
    if binding.has_body:
        yield _Cause(408, _DEADLINE_EXCEEDED, "The body did not come in time.")
        yield _Cause(413, _RESOURCE_EXHAUSTED, "The body is longer than the gateway takes.")
        yield _Cause(415, _INVALID_ARGUMENT, "The body is not said to be `application/json`.")


def _common_details(code: int, reason: str) -> tuple[Schema, ...]:
    if code == _INVALID_ARGUMENT:
        return (_BAD_REQUEST,)
    return (_error_info(reason), _RETRY_INFO) if code == _RESOURCE_EXHAUSTED else (_error_info(reason),)


def _error_info(reason: str) -> Schema:
    return {"@type": f"{_TYPES}ErrorInfo", "reason": reason, "domain": "marketplace", "metadata": {}}


def _response(causes: list[_Cause]) -> Schema:
    texts = [f"`{cause.label}`: {cause.text}" if cause.label else cause.text for cause in causes]
    schema: Schema = {"$ref": f"{_PREFIX}/schemas/{_STATUS}"}
    reasons = sorted({cause.reason for cause in causes})
    if all(reasons):
        # Only an ErrorInfo has a reason of its own.
        schema["properties"] = {"details": {"items": {"properties": {"reason": {"enum": reasons}}}}}
    is_retry_told = any(_RETRY_INFO in cause.details for cause in causes)
    return {
        "description": texts[0] if len(texts) == 1 else "\n".join(f"- {text}" for text in texts),
        **({"headers": {"Retry-After": _RETRY_AFTER}} if is_retry_told else {}),
        "content": {"application/json": {"schema": schema, **_examples(causes)}},
    }


def _examples(causes: list[_Cause]) -> Schema:
    if len(causes) == 1:
        return {"example": causes[0].example}
    return {"examples": {cause.label or "Gateway": {"value": cause.example} for cause in causes}}


def schemas() -> dict[str, Schema]:
    """The schemas of an error: google.rpc.Status, and the details that it may have, in JSON."""
    details = {f"google.rpc.{name}": _detail(name, *about) for name, about in _DETAILS.items()}
    refs = [{"$ref": f"{_PREFIX}/schemas/{name}"} for name in details]
    properties = {
        "code": {**base(Value("int32", Place.RESPONSE)), "description": "The code of gRPC."},
        "message": _text("What went wrong, for a developer."),
        "details": {"type": "array", "items": {"oneOf": refs}, "description": "What went wrong, for a program."},
    }
    return {_STATUS: _closed("An error.", properties), **details}


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _closed(description: str, properties: Schema, optional: Schema | None = None) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": properties | (optional or {}),
        "required": list(properties),
        "additionalProperties": False,
    }


def _detail(name: str, description: str, properties: Schema) -> Schema:
    return _closed(description, {"@type": {"const": f"{_TYPES}{name}"}, **properties})


_VIOLATION = _closed(
    "A field and the rule that it breaks.",
    {
        "field": _text("The path of the field, such as `items[0].count`."),
        "description": _text("What the rule demands."),
        "reason": _text("The id of the rule, such as `uint32.lte`."),
    },
    {"localizedMessage": {"type": "null"}},
)
_DETAILS: dict[str, tuple[str, Schema]] = {
    "BadRequest": ("What is wrong with the request.", {"fieldViolations": {"type": "array", "items": _VIOLATION}}),
    "ErrorInfo": (
        "The cause of the error.",
        {
            "reason": _text("A constant that names it."),
            "domain": _text("Whose constant it is."),
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    ),
    "RetryInfo": ("When to try again.", {"retryDelay": base(Value("duration", Place.RESPONSE))}),
    "RequestInfo": ("The call.", {"requestId": _text("Its id."), "servingData": _text("More about it.")}),
}
