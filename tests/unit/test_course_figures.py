"""What the course asks of the cart when the catalogue is slow and limited, on a clock that jumps."""

import asyncio
from dataclasses import dataclass, field
from itertools import count
from typing import cast

import pytest
from marketplace.product.v1 import product_pb2 as pb
from marketplace.product.v1.product_pb2_grpc import ProductServiceStub

from services.cart.clients import GET_PRODUCT, ProductClient
from services.chassis.client import own_limiter
from services.chassis.contract import rpc
from services.chassis.rate_limiter import Turns
from tests.virtual_time import run

LATENCY_SECONDS = 0.1


@dataclass
class SlowCatalogue:
    """Answers after a while, to calls that have waited for their turn."""

    limiter: Turns
    running: int = 0
    most: int = 0
    starts: list[float] = field(default_factory=list)

    async def GetProduct(self, request: pb.GetProductRequest) -> pb.GetProductResponse:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.limiter.turn()
        self.starts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(LATENCY_SECONDS)
        self.running -= 1
        return pb.GetProductResponse(sku=request.sku, name="a", price=1)

    @property
    def most_in_a_second(self) -> int:
        return max(sum(begin <= at < begin + 1 for at in self.starts) for begin in self.starts)


def catalogue() -> tuple[SlowCatalogue, ProductClient]:
    slow = SlowCatalogue(own_limiter(rpc(GET_PRODUCT)))
    return slow, ProductClient(cast("ProductServiceStub", slow))


def test_a_list_of_seventeen_takes_less_than_eleven_seconds_and_asks_for_five_at_a_time() -> None:
    async def main() -> float:
        slow, client = catalogue()
        assert len(await client.products(range(1, 18))) == 17
        assert slow.most == 5
        assert slow.most_in_a_second == 10
        return asyncio.get_running_loop().time()

    assert run(main()) < 11


def test_of_seventy_requests_by_eleven_callers_none_is_refused_and_no_second_has_more_than_ten() -> None:
    async def main() -> float:
        slow, client = catalogue()
        left = count(1)

        async def caller() -> None:
            while (sku := next(left)) <= 70:
                await client.product(sku)

        await asyncio.gather(*(caller() for _ in range(11)))
        assert len(slow.starts) == 70
        assert slow.most_in_a_second == 10
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(6 * 1.1 + LATENCY_SECONDS, abs=0.01)


@pytest.mark.parametrize("burst", [30, 50])
def test_a_burst_waits_for_its_turns(burst: int) -> None:
    async def main() -> None:
        slow, client = catalogue()
        await asyncio.gather(*(client.product(sku) for sku in range(1, burst + 1)))
        assert len(slow.starts) == burst
        assert slow.most_in_a_second == 10

    run(main())
