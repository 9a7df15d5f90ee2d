"""The validation rules of the contract, checked by protovalidate."""

import protovalidate
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from protovalidate import FieldPathPb

from services.chassis.errors import InvalidArgumentError


def field_path(path: FieldPathPb) -> str:
    """The field as a caller would write it: `items[0].count`."""
    text = ""
    for element in path.elements:
        text += f".{element.field_name}" if text else element.field_name
        if element.subscript is not None:
            key = element.subscript.value
            text += f'["{key}"]' if isinstance(key, str) else f"[{key}]"
    return text


def _sentence(violation: error_details_pb2.BadRequest.FieldViolation) -> str:
    """A rule over several fields names none of them."""
    return f"{violation.field}: {violation.description}" if violation.field else violation.description


class BrokenRulesError(InvalidArgumentError):
    """A message breaks rules: each field with the sentence of the rule, and its id as reason."""

    def __init__(self, bad_request: error_details_pb2.BadRequest) -> None:
        super().__init__("; ".join(map(_sentence, bad_request.field_violations)))
        self.bad_request = bad_request


def check_rules(message: Message) -> None:
    """Raises BrokenRulesError when the message breaks a rule."""
    violations = protovalidate.collect_violations(message)
    if not violations:
        return
    bad_request = error_details_pb2.BadRequest()
    for violation in violations:
        proto = violation.proto
        bad_request.field_violations.add(
            field=field_path(proto.field) if proto.field is not None else "",
            description=proto.message,
            reason=proto.rule_id,
        )
    raise BrokenRulesError(bad_request)


def warm_up(message_type: Descriptor) -> None:
    """Compiles the rules of a message, so that its first call does not wait for it."""
    protovalidate.collect_violations(GetMessageClass(message_type)())
