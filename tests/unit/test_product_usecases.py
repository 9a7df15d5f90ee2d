"""What the catalogue decides."""

import pytest

from services.product.usecases import Catalogue, Product, ProductNotFoundError, RateLimitError, Throttle
from tests.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def catalogue(clock: FakeClock, rate_limit: int = 0) -> Catalogue:
    products = [Product(sku, f"product {sku}", sku) for sku in (30, 10, 20)]
    return Catalogue(products, Throttle(rate_limit, clock))


def test_a_product_is_found_by_its_sku(clock: FakeClock) -> None:
    assert catalogue(clock).product(20) == Product(20, "product 20", 20)


def test_an_unknown_sku_is_not_found(clock: FakeClock) -> None:
    with pytest.raises(ProductNotFoundError):
        catalogue(clock).product(404)


@pytest.mark.parametrize(
    ("start_after_sku", "count", "skus"),
    [
        (0, None, [10, 20, 30]),
        (10, None, [20, 30]),
        (15, 1, [20]),
        (30, 5, []),
        (2**32 - 1, None, []),
    ],
)
def test_a_page_begins_behind_the_given_sku_and_is_ascending(
    clock: FakeClock, start_after_sku: int, count: int | None, skus: list[int]
) -> None:
    assert catalogue(clock).skus(start_after_sku, count) == skus


def test_a_page_has_100_skus_unless_the_caller_says_otherwise(clock: FakeClock) -> None:
    many = Catalogue([Product(sku, "", 1) for sku in range(1, 301)], Throttle(0, clock))

    assert many.skus(0, None) == list(range(1, 101))
    assert many.skus(0, 1000) == list(range(1, 301))


def test_a_second_takes_as_many_calls_as_the_limit_says_and_the_next_one_as_many_again(clock: FakeClock) -> None:
    limited = catalogue(clock, rate_limit=2)
    for _ in range(2):
        limited.product(10)
        limited.skus(0, 1)
        with pytest.raises(RateLimitError):
            limited.product(10)
        with pytest.raises(RateLimitError):
            limited.skus(0, 1)
        clock.move(seconds=1)
