"""The side port: readiness is asked for every time."""

import httpx

from services.chassis.side_port import side_port
from tests.settings import AnySettings


async def test_a_process_that_takes_no_calls_is_alive_and_not_ready() -> None:
    ready = True

    async def is_ready() -> bool:
        return ready

    async with (
        side_port(AnySettings(), is_ready) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await client.get("/readyz")).status_code == 200
        ready = False
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/nothing")).status_code == 404
