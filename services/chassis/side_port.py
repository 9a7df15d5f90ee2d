"""The HTTP port for operators: health now, not for the public."""

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

from services.chassis.settings import ServiceSettings, StartError

POLL_SECONDS = 0.005


class _Server(uvicorn.Server):
    """uvicorn, but signals are the business of the process and not its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def side_port(settings: ServiceSettings, ready: Callable[[], Awaitable[bool]]) -> AsyncIterator[int]:
    """Answers /healthz (the process lives) and /readyz (it takes calls) while the block runs; gives the port."""

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        if await ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not ready\n", status_code=503)

    app = Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none")
    server = _Server(config)
    with _bound(settings) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started and not serving.done():  # noqa: ASYNC110  uvicorn tells no other way
                await asyncio.sleep(POLL_SECONDS)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


def _bound(settings: ServiceSettings) -> socket.socket:
    host, _, port = settings.side_listen.rpartition(":")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, int(port)))
    except OSError:
        listener.close()
        variable = settings.variable("side_listen")
        raise StartError(
            f"{settings.side_listen} is taken or not ours: stop what listens there or set {variable}"
        ) from None
    return listener
