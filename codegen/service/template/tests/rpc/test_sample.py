"""SampleService over gRPC."""

from collections.abc import AsyncIterator

import grpc
import pytest
from marketplace.sample.v1 import sample_pb2 as pb
from marketplace.sample.v1.sample_pb2_grpc import SampleServiceStub

from services.sample.__main__ import SampleSettings, sample
from services.sample.usecases import PAGE
from tests.rpc.expect import broken_rules_of, reason_of
from tests.settings import FREE

USER = 7
SKU = 1076963


@pytest.fixture
async def stub() -> AsyncIterator[SampleServiceStub]:
    async with (
        sample(SampleSettings(listen=FREE, side_listen=FREE)) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield SampleServiceStub(channel)


async def test_an_entry_that_is_put_can_be_got_and_listed(stub: SampleServiceStub) -> None:
    for count in (1, 65535):
        await stub.SamplePut(pb.SamplePutRequest(user_id=USER, sku=SKU, count=count))

    assert await stub.SampleGet(pb.SampleGetRequest(user_id=USER, sku=SKU)) == pb.SampleGetResponse(count=65535)
    listed = await stub.SampleList(pb.SampleListRequest(user_id=USER))
    assert list(listed.entries) == [pb.Entry(sku=SKU, count=65535)]


async def test_an_entry_that_is_not_there_is_not_found(stub: SampleServiceStub) -> None:
    call = stub.SampleGet(pb.SampleGetRequest(user_id=USER, sku=SKU))

    assert await reason_of(call) == ("NOT_FOUND", "ENTRY_NOT_FOUND")


async def test_the_entries_come_page_by_page(stub: SampleServiceStub) -> None:
    skus = range(1, PAGE + 2)
    for sku in skus:
        await stub.SamplePut(pb.SamplePutRequest(user_id=USER, sku=sku, count=1))

    first = await stub.SampleList(pb.SampleListRequest(user_id=USER))
    last = await stub.SampleList(pb.SampleListRequest(user_id=USER, start_after_sku=first.entries[-1].sku))

    assert [entry.sku for entry in (*first.entries, *last.entries)] == list(skus)
    assert len(last.entries) == 1


async def test_broken_rules_are_named(stub: SampleServiceStub) -> None:
    put = stub.SamplePut(pb.SamplePutRequest(count=65536))
    assert await broken_rules_of(put) == {
        ("user_id", "int64.gt"),
        ("sku", "uint32.gt"),
        ("count", "uint32.gte_lte"),
    }
    get = stub.SampleGet(pb.SampleGetRequest())
    assert await broken_rules_of(get) == {("user_id", "int64.gt"), ("sku", "uint32.gt")}
    assert await broken_rules_of(stub.SampleList(pb.SampleListRequest())) == {("user_id", "int64.gt")}
