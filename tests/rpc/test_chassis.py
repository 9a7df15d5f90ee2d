"""What the chassis promises of every RPC, shown on one."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from marketplace.notifier.v1 import notifier_pb2 as pb
from marketplace.notifier.v1 import notifier_pb2_grpc as pb_grpc

from services.chassis import contract, server
from services.chassis.contract import ContractError
from services.chassis.errors import NotFoundError, UnavailableError
from services.chassis.log import get_logger
from services.chassis.server import Context, servicer, serving
from services.chassis.settings import StartError
from services.notifier.memory import MemoryStorage
from services.notifier.servicer import NotifierServicer
from services.notifier.usecases import Notifications
from tests.rpc.expect import error_of, reason_of
from tests.settings import AnySettings
from tests.waiting import until

SERVICE = "marketplace.notifier.v1.NotifierService"
REQUEST = pb.ListNotificationsRequest(order_id=1)
CANARY = "s3cr3t-canary"

Do = Callable[[], Awaitable[None]]


class Fake(NotifierServicer):
    """Does as it is told."""

    def __init__(self, do: Do) -> None:
        super().__init__(Notifications(MemoryStorage(), get_logger("notifier")))
        self._do = do

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, context: Context
    ) -> pb.ListNotificationsResponse:
        await self._do()
        return pb.ListNotificationsResponse()


@asynccontextmanager
async def channel_to(do: Do, **settings: object) -> AsyncIterator[grpc.aio.Channel]:
    fake = servicer(pb_grpc.add_NotifierServiceServicer_to_server, Fake(do))
    async with (
        serving(AnySettings(**settings), fake) as port,  # type: ignore[arg-type]
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel


@asynccontextmanager
async def stub_to(do: Do, **settings: object) -> AsyncIterator[pb_grpc.NotifierServiceStub]:
    async with channel_to(do, **settings) as channel:
        yield pb_grpc.NotifierServiceStub(channel)


async def nothing() -> None:
    """A handler that does nothing."""


async def fail_privately() -> None:
    raise ValueError(f"dsn=postgres://user:{CANARY}@host/db")


async def cancel_itself() -> None:
    raise asyncio.CancelledError(CANARY)


async def time_out_itself() -> None:
    raise TimeoutError(CANARY)


async def fail_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fail_privately())


class UndocumentedError(NotFoundError):
    """Not in the catalogue of the RPC."""

    reason = "UNDOCUMENTED"


async def fail_undocumented() -> None:
    raise UndocumentedError(CANARY)


@pytest.mark.parametrize("do", [fail_privately, cancel_itself, time_out_itself, fail_in_a_group, fail_undocumented])
async def test_an_unforeseen_error_tells_an_id_and_nothing_else(do: Do, logs: list[dict[str, object]]) -> None:
    async with stub_to(do) as stub:
        status = await error_of(stub.ListNotifications(REQUEST))
    assert status.message == "internal error"
    assert CANARY.encode() not in status.SerializeToString()

    [line] = [line for line in logs if line["event"] == "unforeseen error"]
    assert str(line["error_id"]).encode() in status.SerializeToString()
    assert line["rpc"] == "NotifierService/ListNotifications"


async def test_a_common_error_needs_no_entry_in_the_catalogue() -> None:
    async def down() -> None:
        raise UnavailableError("loms cannot be reached")

    async with stub_to(down) as stub:
        assert await reason_of(stub.ListNotifications(REQUEST)) == ("UNAVAILABLE", "UNAVAILABLE")


async def hang_until_ended(ended: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()


async def test_a_call_ends_at_its_callers_deadline_and_its_handler_with_it(logs: list[dict[str, object]]) -> None:
    ended = asyncio.Event()
    async with stub_to(lambda: hang_until_ended(ended)) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.ListNotifications(REQUEST, timeout=0.1)
        async with asyncio.timeout(1):
            await ended.wait()

    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [line["code"] for line in logs if line["event"] == "call"] == ["DEADLINE_EXCEEDED"]


@pytest.mark.parametrize("asked", [None, 3600])
async def test_a_call_without_a_deadline_or_with_a_long_one_ends_at_the_contracts(
    asked: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_contract = contract.rpc(f"/{SERVICE}/ListNotifications")
    shorter = dataclasses.replace(in_contract, default_deadline=0.1, max_deadline=0.1)
    monkeypatch.setattr(server, "rpc", lambda _: shorter)
    ended = asyncio.Event()
    async with stub_to(lambda: hang_until_ended(ended)) as stub:
        expired = stub.ListNotifications(REQUEST, timeout=asked)
        assert await reason_of(expired) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert ended.is_set()


async def test_a_call_too_many_is_refused_before_any_work_and_told_when_to_come_again(
    monkeypatch: pytest.MonkeyPatch, logs: list[dict[str, object]]
) -> None:
    in_contract = contract.rpc(f"/{SERVICE}/ListNotifications")
    monkeypatch.setattr(server, "rpc", lambda _: dataclasses.replace(in_contract, max_concurrent=3))
    entered = 0
    finish = asyncio.Event()

    async def work() -> None:
        nonlocal entered
        entered += 1
        await finish.wait()

    async with stub_to(work) as stub:
        running = [asyncio.ensure_future(stub.ListNotifications(REQUEST)) for _ in range(3)]

        async def are_running() -> bool:
            return entered == 3

        await until(are_running)
        refused = await error_of(stub.ListNotifications(REQUEST))
        finish.set()
        await asyncio.gather(*running)
        await stub.ListNotifications(REQUEST)

    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert refused.details[0].Unpack(info)
    assert info.reason == "OVERLOADED"
    assert refused.details[1].Unpack(retry)
    assert retry.retry_delay.ToTimedelta().total_seconds() > 0
    assert entered == 4
    assert [line["code"] for line in logs if line["event"] == "call"].count("RESOURCE_EXHAUSTED") == 1


async def test_a_call_that_its_caller_gives_up_ends() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with stub_to(hang) as stub:
        call = stub.ListNotifications(REQUEST)
        async with asyncio.timeout(2):
            await started.wait()
            call.cancel()
            await ended.wait()


async def test_every_call_is_a_log_line(logs: list[dict[str, object]]) -> None:
    async with stub_to(nothing) as stub:
        await stub.ListNotifications(REQUEST, metadata=(("x-request-id", "r1"), ("authorization", f"Bearer {CANARY}")))
        await error_of(stub.ListNotifications(pb.ListNotificationsRequest()))

    lines = [line for line in logs if line["event"] == "call"]
    assert [(line["rpc"], line["code"]) for line in lines] == [
        ("NotifierService/ListNotifications", "OK"),
        ("NotifierService/ListNotifications", "INVALID_ARGUMENT"),
    ]
    assert lines[0]["request_id"] == "r1"
    assert lines[1]["request_id"]
    assert lines[0]["service"] == "tested"
    assert isinstance(lines[0]["duration_ms"], float)
    assert CANARY not in str(logs)


async def test_health_and_reflection_answer() -> None:
    async with channel_to(nothing) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", SERVICE):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        answers = [answer async for answer in asked]
        assert SERVICE in {service.name for service in answers[0].list_services_response.service}


async def test_running_calls_finish_while_no_new_ones_are_taken_when_the_service_stops() -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        started.set()
        await finish.wait()

    fake = servicer(pb_grpc.add_NotifierServiceServicer_to_server, Fake(slow))
    stop = asyncio.Event()
    port_known: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def service() -> None:
        async with serving(AnySettings(), fake) as port:
            port_known.set_result(port)
            await stop.wait()

    running = asyncio.create_task(service())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await port_known}") as channel:
        stub = pb_grpc.NotifierServiceStub(channel)
        call = asyncio.ensure_future(stub.ListNotifications(REQUEST))
        await started.wait()
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        await health.read()
        stop.set()
        assert (await health.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        health.cancel()
        with contextlib.suppress(grpc.aio.AioRpcError):
            async with asyncio.timeout(1):
                await stub.ListNotifications(REQUEST, timeout=0.5)
        assert not running.done()
        finish.set()
        assert await call == pb.ListNotificationsResponse()
    async with asyncio.timeout(5):
        await running


async def test_whoever_asks_once_a_second_whether_the_service_is_alive_keeps_the_connection() -> None:
    pings = [("grpc.keepalive_time_ms", 1_100), ("grpc.http2.max_pings_without_data", 0)]
    async with (
        serving(AnySettings()) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=pings) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        await health.read()
        ended = asyncio.ensure_future(health.read())
        await asyncio.wait([ended], timeout=5)
        was_ended = ended.done()
        health.cancel()
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await ended

    assert not was_ended


async def test_a_call_that_does_not_finish_in_time_is_ended_with_its_cleanup() -> None:
    started, cleaned_up = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned_up.set()

    async with stub_to(stubborn, drain_seconds=0.1) as stub:
        call = asyncio.ensure_future(stub.ListNotifications(REQUEST))
        await started.wait()
    assert cleaned_up.is_set()
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await call


async def test_the_side_port_tells_life_and_readiness(unused_tcp_port: int) -> None:
    async with channel_to(nothing, side_listen=f"127.0.0.1:{unused_tcp_port}"), httpx.AsyncClient() as client:
        for path in ("healthz", "readyz"):
            answer = await client.get(f"http://127.0.0.1:{unused_tcp_port}/{path}")
            assert answer.status_code == 200


class Forgetful(pb_grpc.NotifierServiceServicer):
    """Fills in nothing."""


async def test_a_forgotten_rpc_does_not_start() -> None:
    forgetful = servicer(pb_grpc.add_NotifierServiceServicer_to_server, Forgetful())  # type: ignore[abstract]
    with pytest.raises(ContractError, match="ListNotifications is not filled in"):
        async with serving(AnySettings(), forgetful):
            pass


@pytest.mark.parametrize("which", ["listen", "side_listen"])
async def test_a_taken_port_is_named_with_its_setting(which: str, unused_tcp_port: int) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", unused_tcp_port)
    try:
        with pytest.raises(StartError, match=f"127.0.0.1:{unused_tcp_port} is taken.*set {which.upper()}"):
            async with stub_to(nothing, **{which: f"127.0.0.1:{unused_tcp_port}"}):
                pass
    finally:
        server.close()
        await server.wait_closed()
