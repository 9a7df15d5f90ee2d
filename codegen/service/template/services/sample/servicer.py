"""SampleService in the words of the contract: messages in, messages out."""

from marketplace.sample.v1 import sample_pb2 as pb
from marketplace.sample.v1 import sample_pb2_grpc as pb_grpc

from services.chassis.server import Context
from services.sample.usecases import Entries, Entry


class SampleServicer(pb_grpc.SampleServiceServicer):
    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    async def SamplePut(self, request: pb.SamplePutRequest, context: Context) -> pb.SamplePutResponse:
        await self._entries.put(request.user_id, Entry(request.sku, request.count))
        return pb.SamplePutResponse()

    async def SampleGet(self, request: pb.SampleGetRequest, context: Context) -> pb.SampleGetResponse:
        entry = await self._entries.entry(request.user_id, request.sku)
        return pb.SampleGetResponse(count=entry.count)

    async def SampleList(self, request: pb.SampleListRequest, context: Context) -> pb.SampleListResponse:
        entries = await self._entries.page(request.user_id, request.start_after_sku)
        return pb.SampleListResponse(entries=[pb.Entry(sku=entry.sku, count=entry.count) for entry in entries])
