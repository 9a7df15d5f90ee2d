"""Both doors are one: what a request is answered over gRPC it is answered over HTTP."""

import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import grpc
import hypothesis
import pytest
import uvloop
from chassis.v1 import options_pb2
from google.protobuf import descriptor_pool, json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import strategies as st

from tests.contract.contract import methods, services
from tests.contract.requests import Request, requests
from tests.marketplace import Program, started_marketplace

_BATCH = 25  # Hypothesis repeats nothing, but the same call twice is not the same
_TOKEN = "Bearer testtoken"
_MOMENTS = {"ListNotifications"}  # their answers hold when something was, and what was already heard of it


@dataclass(frozen=True)
class Answer:
    """What was answered: a message, or an error with all that it says."""

    code: int
    message: Message | None = None
    text: str = ""
    details: tuple[Message, ...] = ()


@pytest.mark.parametrize("each", [160, pytest.param(400, marks=[pytest.mark.long, pytest.mark.timeout(240)])])
def test_over_thousands_of_requests_grpc_and_http_differ_nowhere(each: int, tmp_path: Path) -> None:
    """The same requests in the same order go to two fresh marketplaces, to one over gRPC, to the other over HTTP:
    so both are in the same state at each of them. Code, text, details and answer are compared.

    What only JSON can say, and the edge therefore refuses by itself, is in the Go tests of services/gateway.
    """
    sent = _sent(each * len(methods()))
    assert len(sent) >= each * len(methods())
    with (
        started_marketplace(tmp_path / "grpc", MARKETPLACE_LOG_LEVEL="error") as one,
        started_marketplace(tmp_path / "http", MARKETPLACE_LOG_LEVEL="error") as other,
    ):
        for marketplace in (one, other):
            marketplace.answer(f"{marketplace.url}/healthz")
        over_grpc, over_http = uvloop.run(_both(sent, one, other))
    different = [
        (request.method.name, str(request.message), by_grpc, by_http)
        for request, by_grpc, by_http in zip(sent, over_grpc, over_http, strict=True)
        if by_grpc != by_http
    ]
    assert different == []
    _assert_variety(sent, over_grpc)


def _assert_variety(sent: list[Request], answers: list[Answer]) -> None:
    """Two doors that refuse everything would be one as well."""
    codes = Counter(answer.code for answer in answers)
    successes = Counter(
        request.method.name for request, answer in zip(sent, answers, strict=True) if answer.code == code_pb2.OK
    )
    assert codes[code_pb2.OK] > len(sent) / 5
    assert codes[code_pb2.INVALID_ARGUMENT] > len(sent) / 5
    assert codes[code_pb2.INTERNAL] == 0
    assert successes.keys() == {method.name for method in methods()}, successes


def _sent(number: int) -> list[Request]:
    found: list[Request] = []

    @hypothesis.seed(1)
    @hypothesis.settings(
        max_examples=number // _BATCH + 4,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.lists(requests(methods()), min_size=_BATCH, max_size=_BATCH))
    def collect(batch: list[Request]) -> None:
        found.extend(batch)

    collect()
    return found


async def _both(sent: list[Request], one: Program, other: Program) -> tuple[list[Answer], list[Answer]]:
    async with asyncio.TaskGroup() as group:
        over_grpc = group.create_task(_over_grpc(sent, one))
        over_http = group.create_task(_over_http(sent, other))
    return over_grpc.result(), over_http.result()


# gRPC


async def _over_grpc(sent: list[Request], marketplace: Program) -> list[Answer]:
    calls: dict[str, Any] = {}
    channels = [grpc.aio.insecure_channel(marketplace.settings[f"{name.upper()}_LISTEN"]) for name in services()]
    for channel, service in zip(channels, services().values(), strict=True):
        for method in service.methods:
            answer = GetMessageClass(method.output_type)
            calls[method.full_name] = channel.unary_unary(
                f"/{service.full_name}/{method.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=answer.FromString,
            )
    answers = [await _called(calls[request.method.full_name], request) for request in sent]
    for channel in channels:
        await channel.close()
    return answers


async def _called(call: Any, request: Request) -> Answer:
    try:
        return _success(request.method, await call(request.message, metadata=[("authorization", _TOKEN)]))
    except grpc.aio.AioRpcError as error:
        trailers = cast("list[tuple[str, bytes]]", list(error.trailing_metadata()))
        details = dict(trailers)["grpc-status-details-bin"]
        return _failure(status_pb2.Status.FromString(details))


# HTTP


async def _over_http(sent: list[Request], marketplace: Program) -> list[Answer]:
    host, port = marketplace.settings["GATEWAY_LISTEN"].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answers = []
    for request in sent:
        writer.write(_written(request))
        answers.append(_read(request.method, *await _received(reader)))
    writer.close()
    return answers


def _written(request: Request) -> bytes:
    """The request as HTTP has it. Nothing is left out because it is zero."""
    rule = request.rule
    verb = cast("str", rule.WhichOneof("pattern"))
    fields = json_format.MessageToDict(request.message, always_print_fields_with_no_presence=True)
    path = re.sub(r"\{(\w+)\}", lambda name: str(getattr(request.message, name[1])), getattr(rule, verb))
    for name in re.findall(r"\{(\w+)\}", getattr(rule, verb)):
        fields.pop(request.message.DESCRIPTOR.fields_by_name[name].json_name, None)
    body = json.dumps(fields).encode() if rule.body else b""
    query = "" if rule.body or not fields else f"?{urlencode(fields)}"
    head = f"{verb.upper()} {path}{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {_TOKEN}\r\n"
    if rule.body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def _received(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"content-length: (\d+)", head)
    return int(head.split()[1]), await reader.readexactly(int(length[1]) if length else 0)


def _read(method: MethodDescriptor, status: int, body: bytes) -> Answer:
    policy = method.GetOptions().Extensions[options_pb2.method]
    if status == (policy.success_status or 200):
        message = GetMessageClass(method.output_type)()
        return _success(method, json_format.Parse(body, message) if body else message)
    found = _failure(json_format.Parse(body, status_pb2.Status(), descriptor_pool=descriptor_pool.Default()))
    code = options_pb2.Code.DESCRIPTOR.values_by_number[found.code].GetOptions().Extensions[options_pb2.code]
    assert status == code.http_status, (status, found)
    return found


# Answers


def _success(method: MethodDescriptor, message: Message) -> Answer:
    return Answer(code_pb2.OK, None if method.name in _MOMENTS else message)


def _failure(status: status_pb2.Status) -> Answer:
    return Answer(status.code, None, status.message, tuple(_unpacked(detail) for detail in status.details))


def _unpacked(detail: Any) -> Message:
    for cls in (error_details_pb2.BadRequest, error_details_pb2.ErrorInfo):
        found = cls()
        if detail.Unpack(found):
            return cast("Message", found)
    raise AssertionError(f"an unknown detail: {detail}")
