"""The HTTP port for operators, not for the public: health, metrics, profiles."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.chassis.listening import listener
from services.chassis.metrics import CONTENT_TYPE_LATEST, exposition
from services.chassis.profiles import profile_routes
from services.chassis.settings import ServiceSettings

POLL_SECONDS = 0.005
CLOSE_SECONDS = 5
"""How long answers that have begun may take at the end."""


class _Server(uvicorn.Server):
    """uvicorn, but it is its owner who tells it to stop, and neither a signal nor a look at the clock."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self.stop = stop

    async def main_loop(self) -> None:
        await self.stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it, without its pauses of 0.1 s."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while self.server_state.connections:  # noqa: ASYNC110  uvicorn tells no other way
                    await asyncio.sleep(POLL_SECONDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def side_port(settings: ServiceSettings, ready: Callable[[], Awaitable[bool]]) -> AsyncIterator[int]:
    """Answers /healthz (the process lives), /readyz (it takes calls), /metrics, /debug/profile, /debug/heap and
    /debug/tasks while the block runs; gives the port.
    """

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        if await ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not ready\n", status_code=503)

    async def metrics(_request: Request) -> Response:
        return Response(exposition(), media_type=CONTENT_TYPE_LATEST)

    stop = asyncio.Event()
    told = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    app = Starlette(routes=[*told, *profile_routes(stop)])
    config = uvicorn.Config(
        app,
        http="h11",
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        date_header=False,
        server_header=False,
    )
    server = _Server(config, stop)
    with listener(settings, "side_listen") as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            while not server.started and not serving.done():  # noqa: ASYNC110  uvicorn tells no other way
                await asyncio.sleep(POLL_SECONDS)
            yield listening.getsockname()[1]
        finally:
            stop.set()
            await serving
