"""What the catalogue decides: what there is, and how many calls it takes."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from services.chassis.clock import Clock
from services.chassis.errors import NotFoundError, ResourceExhaustedError

DEFAULT_COUNT = 100


@dataclass(frozen=True, slots=True)
class Product:
    """What a sku is called, and what a unit costs."""

    sku: int
    name: str
    price: int


class ProductNotFoundError(NotFoundError):
    reason = "PRODUCT_NOT_FOUND"

    def __init__(self, sku: int) -> None:
        super().__init__(f"the catalogue does not have sku {sku}", sku=sku)


class RateLimitError(ResourceExhaustedError):
    def __init__(self, rate_limit: int) -> None:
        super().__init__(f"the catalogue takes {rate_limit} calls a second", rate_limit=rate_limit)


class Throttle:
    """Lets through at most so many calls in each second of the clock; 0 lets through all."""

    def __init__(self, rate_limit: int, clock: Clock) -> None:
        self._rate_limit = rate_limit
        self._clock = clock
        self._second = 0
        self._calls = 0

    def enter(self) -> None:
        """Raises RateLimitError when this second has no call left."""
        if self._rate_limit == 0:
            return
        second = int(self._clock().timestamp())
        if second != self._second:
            self._second, self._calls = second, 0
        if self._calls >= self._rate_limit:
            raise RateLimitError(self._rate_limit)
        self._calls += 1


class Catalogue:
    """The products, by sku."""

    def __init__(self, products: Iterable[Product], throttle: Throttle) -> None:
        self._products = {product.sku: product for product in products}
        self._skus = sorted(self._products)
        self._throttle = throttle

    def product(self, sku: int) -> Product:
        """The product of a sku. Raises ProductNotFoundError, RateLimitError."""
        self._throttle.enter()
        product = self._products.get(sku)
        if product is None:
            raise ProductNotFoundError(sku)
        return product

    def skus(self, start_after_sku: int, count: int | None) -> list[int]:
        """At most `count` skus above `start_after_sku`, ascending. Raises RateLimitError."""
        self._throttle.enter()
        start = bisect_right(self._skus, start_after_sku)
        return self._skus[start : start + (count or DEFAULT_COUNT)]
