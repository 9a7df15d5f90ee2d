"""What the contract says of each RPC besides its messages, read from the descriptors."""

from dataclasses import dataclass

from chassis.v1 import options_pb2 as options
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, MethodDescriptor


def _code_policy(code: options.Code.ValueType) -> options.CodePolicy:
    value = options.Code.DESCRIPTOR.values_by_number[code]
    return value.GetOptions().Extensions[options.code]


# The codes with which any RPC may end.
COMMON_CODES = frozenset(code for code in options.Code.values() if _code_policy(code).common)


class ContractError(Exception):
    """The contract does not say what it must."""


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
    """The pairs of code and reason that it lists."""

    def allows(self, code: options.Code.ValueType, reason: str) -> bool:
        """Whether the contract lets the RPC end so."""
        return code in COMMON_CODES or (code, reason) in self.catalogue


def rpc(path: str) -> Rpc:
    """The RPC of this path. Raises ContractError when it has no usable policy."""
    service_name, _, method_name = path.removeprefix("/").partition("/")
    pool = descriptor_pool.Default()
    method: MethodDescriptor = pool.FindServiceByName(service_name).methods_by_name[method_name]
    policy = method.GetOptions().Extensions[options.method]
    default = policy.deadline.default.ToTimedelta().total_seconds()
    longest = policy.deadline.max.ToTimedelta().total_seconds()
    if policy.access == options.ACCESS_UNSPECIFIED:
        raise ContractError(f"{method.full_name}: (chassis.v1.method).access is missing")
    if not 0 < default <= longest:
        raise ContractError(f"{method.full_name}: (chassis.v1.method).deadline needs 0 < default <= max")
    return Rpc(
        name=f"{method.containing_service.name}/{method.name}",
        path=path,
        access=policy.access,
        default_deadline=default,
        max_deadline=longest,
        catalogue=frozenset((error.code, error.reason) for error in policy.errors),
    )


def event(message: Descriptor) -> options.EventPolicy:
    """How an event travels. Raises ContractError when the message is none."""
    policy = message.GetOptions().Extensions[options.event]
    if not policy.topic:
        raise ContractError(f"{message.full_name}: (chassis.v1.event).topic is missing")
    return policy
