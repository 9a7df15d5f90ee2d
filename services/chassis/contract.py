"""What the contract says of each RPC besides its messages, read from the descriptors."""

from dataclasses import dataclass

from chassis.v1 import options_pb2 as options
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message


def _code_policy(code: options.Code.ValueType) -> options.CodePolicy:
    value = options.Code.DESCRIPTOR.values_by_number[code]
    return value.GetOptions().Extensions[options.code]


# The codes with which any RPC may end.
COMMON_CODES = frozenset(code for code in options.Code.values() if _code_policy(code).common)


_UNKNOWN_CALLER = (options.CODE_UNAUTHENTICATED, "TOKEN_INVALID")
_WRONG_CALLER = (options.CODE_PERMISSION_DENIED, "PERMISSION_DENIED")

# The pairs of code and reason with which a call ends that is not for its caller.
REFUSALS: dict[int, frozenset[tuple[options.Code.ValueType, str]]] = {
    options.ACCESS_PUBLIC: frozenset(),
    options.ACCESS_TOKEN: frozenset({_UNKNOWN_CALLER}),
    options.ACCESS_OWN_USER: frozenset({_UNKNOWN_CALLER, _WRONG_CALLER}),
    options.ACCESS_OWNER: frozenset({_UNKNOWN_CALLER}),
    options.ACCESS_SERVICE: frozenset({_UNKNOWN_CALLER, _WRONG_CALLER}),
}


class ContractError(Exception):
    """The contract does not say what it must."""


@dataclass(frozen=True, slots=True)
class Retry:
    """What to do about errors that pass by themselves. Times are in seconds."""

    attempts: int
    """How often a call is tried, the first time included."""
    codes: frozenset[int]
    """The numbers of the codes that are worth it."""
    initial_backoff: float
    max_backoff: float


@dataclass(frozen=True, slots=True)
class Rate:
    """How many calls may start: so many a second, and so many at once after a pause."""

    per_second: int
    burst: int
    is_shared: bool
    """Whether all replicas of the caller count together."""


@dataclass(frozen=True, slots=True)
class CacheTimes:
    """How long an answer is good for, in seconds."""

    time_to_live: float
    """It is given without a question for so long."""
    stale: float
    """For so long after that it is still given, and asked for anew meanwhile."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC and its policy. Times are in seconds."""

    name: str
    """As it is logged: `LomsService/OrderCreate`."""
    path: str
    """As it is called: `/marketplace.loms.v1.LomsService/OrderCreate`."""
    access: options.Access.ValueType
    default_deadline: float
    max_deadline: float
    catalogue: frozenset[tuple[options.Code.ValueType, str]]
    """The pairs of code and reason that it lists, or that follow from its access."""
    user_field: str
    """The field of the request that names the user whose own it is; empty if there is none."""
    idempotency_key: str
    """The field of the request that makes it safe to repeat; empty if it is safe anyway, or never."""
    retry: Retry | None
    rate: Rate | None
    cache: CacheTimes | None
    max_concurrent: int
    """How many calls of it a server runs at once."""

    def allows(self, code: options.Code.ValueType, reason: str) -> bool:
        """Whether the contract lets the RPC end so."""
        return code in COMMON_CODES or (code, reason) in self.catalogue

    def may_be_repeated(self, request: Message) -> bool:
        """Whether this request to an RPC with a retry is safe to repeat."""
        return not self.idempotency_key or request.HasField(self.idempotency_key)


def rpc(path: str) -> Rpc:
    """The RPC of this path. Raises ContractError when it has no usable policy."""
    service_name, _, method_name = path.removeprefix("/").partition("/")
    pool = descriptor_pool.Default()
    method: MethodDescriptor = pool.FindServiceByName(service_name).methods_by_name[method_name]
    policy = method.GetOptions().Extensions[options.method]
    default, longest = _seconds(policy.deadline.default), _seconds(policy.deadline.max)
    if policy.access == options.ACCESS_UNSPECIFIED:
        raise ContractError(f"{method.full_name}: (chassis.v1.method).access is missing")
    if not 0 < default <= longest:
        raise ContractError(f"{method.full_name}: (chassis.v1.method).deadline needs 0 < default <= max")
    if policy.max_concurrent == 0:
        raise ContractError(f"{method.full_name}: (chassis.v1.method).max_concurrent is missing")
    return Rpc(
        name=f"{method.containing_service.name}/{method.name}",
        path=path,
        access=policy.access,
        default_deadline=default,
        max_deadline=longest,
        catalogue=frozenset((error.code, error.reason) for error in policy.errors) | REFUSALS[policy.access],
        user_field=policy.user_field,
        idempotency_key=policy.idempotency_key,
        retry=_retry(policy.retry) if policy.HasField("retry") else None,
        rate=_rate(policy.rate_limit) if policy.HasField("rate_limit") else None,
        cache=_cache(policy.cache) if policy.HasField("cache") else None,
        max_concurrent=policy.max_concurrent,
    )


def _retry(retry: options.Retry) -> Retry:
    return Retry(retry.attempts, frozenset(retry.codes), _seconds(retry.initial_backoff), _seconds(retry.max_backoff))


def _rate(rate: options.RateLimit) -> Rate:
    return Rate(rate.per_second, rate.burst, rate.scope == options.SCOPE_SHARED)


def _cache(cache: options.Cache) -> CacheTimes:
    return CacheTimes(_seconds(cache.time_to_live), _seconds(cache.stale_time))


def _seconds(duration: Duration) -> float:
    return duration.ToTimedelta().total_seconds()


def event(message: Descriptor) -> options.EventPolicy:
    """How an event travels. Raises ContractError when the message is none."""
    policy = message.GetOptions().Extensions[options.event]
    if not policy.topic:
        raise ContractError(f"{message.full_name}: (chassis.v1.event).topic is missing")
    return policy
