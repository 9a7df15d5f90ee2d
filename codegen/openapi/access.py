"""What the access of an RPC means to its callers when access is on: the errors that follow from it."""

from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor

from codegen.descriptors import Contract

BEARER = {"type": "http", "scheme": "bearer"}
JWT_BEARER = {**BEARER, "bearerFormat": "JWT", "description": "`make token USER=1` prints one for development."}


@dataclass(frozen=True)
class Refusal:
    """An error as an RPC lists it."""

    code: int
    reason: str
    description: str


_UNAUTHENTICATED = Refusal(16, "TOKEN_INVALID", "The call has no token, or none that is valid.")
_DENIED = {
    "OWN_USER": Refusal(7, "PERMISSION_DENIED", "The token is of another user."),
    "SERVICE": Refusal(7, "PERMISSION_DENIED", "The token is not that of a service."),
}


def refusals(contract: Contract, method: MethodDescriptor) -> list[Refusal]:
    """The errors that no RPC needs to list, as they follow from its access."""
    access = access_of(contract, method)
    if access == "PUBLIC":
        return []
    return [_UNAUTHENTICATED, *([_DENIED[access]] if access in _DENIED else [])]


def access_of(contract: Contract, method: MethodDescriptor) -> str:
    """Who may call: the name in chassis.v1.Access, without its prefix."""
    return contract.enum_name("chassis.v1.Access", contract.policy(method).access, "ACCESS_")
