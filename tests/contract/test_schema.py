"""The rules of the contract and the schema of the databases say the same of what is stored."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable

import asyncpg
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from marketplace.loms.v1.events_pb2 import OrderEvent, OrderEventHeaders

from services.embedded_postgres import DATABASES
from tests.contract.columns import Catalogue, Column, catalogue_of
from tests.contract.contract import messages, methods, rules
from tests.contract.values import UUID, allows, values
from tests.postgres import create_database, tables_of, undone
from tests.unit.codegen.compiled import ROOT

SERVICES = sorted(path.parent.name for path in (ROOT / "sql").glob("*/migrations"))

CONSUMED = {"notifier": [OrderEvent.DESCRIPTOR, OrderEventHeaders.DESCRIPTOR]}
"""The events of others that a service stores something of."""

RENAMED = {"notifier": {"order_sequences.last_sequence": "OrderEventHeaders.sequence"}}
"""The columns that store a field of another name."""

INTERNAL = {
    "cart": {
        "carts.version": "tells a cart from what it was before",
        "carts.ordered_version": "an order is taken out of the cart once",
        "checkouts.created_at": "a request_id is forgotten after its time",
    },
    "loms": {
        "stocks.total": "StocksInfoResponse.count is what of it is not reserved",
        "stocks.reserved": "the other part of it",
        "orders.short": "the skus in the error of a refused order",
        "orders.created_at": "an order expires after its time",
        "requests.body_hash": "a request_id is for one order only",
        "requests.created_at": "a request_id is forgotten after its time",
        "outbox.id": "events are sent in this order",
        "outbox.traceparent": "a header of tracing, which the contract leaves alone",
        "relay_lead.is_only": "there is one row",
        "relay_lead.relay_id": "the relay that sends",
        "relay_lead.expires_at": "until then, if it says no more",
    },
    "notifier": {
        "dead_letters.id": "the events of an order are parked in this order",
        "dead_letters.event_id": "an event is parked once; a broken one may have no id but its place",
        "dead_letters.partition": "where the event is in the topic",
        "dead_letters.position": "where it is in the partition",
        "dead_letters.key": "its bytes as they came",
        "dead_letters.value": "its bytes as they came",
        "dead_letters.headers": "its bytes as they came",
        "dead_letters.error": "why it is parked",
        "dead_letters.parked_at": "since when",
    },
}
"""The columns that store no field of the contract, and what they are for."""

NOT_STORED = {
    "cart": {
        "CartItem.name": "the catalogue has it",
        "ListResponse.items": "each is a row",
    },
    "loms": {
        "OrderCreateRequest.items": "each sku of them is a row",
        "OrderInfoResponse.items": "each is a row",
        "StocksInfoResponse.count": "it is total less reserved",
    },
    "notifier": {
        "OrderEventHeaders.event_id": "an event that comes again has the same order and sequence",
    },
}
"""The fields that no column stores though they have rules, or the name of a column, and why."""

WIDER: dict[str, dict[str, dict[str | None, str]]] = {
    "notifier": {
        "dead_letters.order_id": {None: "the key of a broken event may be no order id"},
        "notifications.user_id": {None: "what was recorded before it was stored"},
        "order_sequences.last_sequence": {"0": "an order is locked before anything of it is recorded"},
    }
}
"""What a column holds beside the values of its field, and why. None is NULL."""

SUMMED = {"loms": {"order_items.count": ("OrderItem.count", "OrderCreateRequest.items")}}
"""The columns that store the sum of a field over items of the same sku; in the worst case, over all items."""

STATUS = OrderEvent.DESCRIPTOR.fields_by_name["status"]
Pairs = list[tuple[Column, FieldDescriptor]]


@pytest.fixture(scope="session")
def databases(server: str) -> dict[str, str]:
    """The DSN of the database of each service, with its migrations applied."""
    return {service: asyncio.run(create_database(server, *tables_of(service))) for service in SERVICES}


@pytest.fixture
async def connection(databases: dict[str, str], service: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database of the service. Its changes are gone after the test."""
    async with undone(databases[service]) as connection:
        yield connection


@pytest.fixture
async def catalogue(connection: asyncpg.Connection) -> Catalogue:
    return await catalogue_of(connection)


# What belongs together


def fields(service: str) -> list[FieldDescriptor]:
    """The fields of what a service takes, gives, sends and consumes."""
    own = [message for message in messages() if message.file.package == f"marketplace.{service}.v1"]
    return fields_of([*own, *CONSUMED.get(service, [])])


def fields_taken(service: str) -> list[FieldDescriptor]:
    """The fields of what comes to a service: requests and events of others."""
    return fields_of([*(method.input_type for method in methods(service)), *CONSUMED.get(service, [])])


def fields_of(roots: Iterable[Descriptor]) -> list[FieldDescriptor]:
    """The fields of these messages and of all of ours within them."""
    found: dict[str, Descriptor] = {}
    waiting = list(roots)
    while waiting:
        message = waiting.pop()
        if message.full_name not in found and message.full_name.startswith("marketplace."):
            found[message.full_name] = message
            waiting += [field.message_type for field in message.fields if field.message_type is not None]
    return [field for message in found.values() for field in message.fields]


def key(field: FieldDescriptor) -> str:
    """`Message.field`."""
    assert field.containing_type
    return f"{field.containing_type.name}.{field.name}"


def pairs(service: str, catalogue: Catalogue) -> Pairs:
    """Each column with each field that it stores: those of its name, unless the lists say otherwise."""
    renamed = RENAMED.get(service, {})
    return [
        (column, field)
        for column in catalogue.columns.values()
        for field in fields(service)
        if key(field) not in NOT_STORED[service] and renamed.get(column.key, column.name) in (key(field), field.name)
    ]


def has_rules(field: FieldDescriptor) -> bool:
    return bool(rules(field).ListFields())


def unlisted_columns(service: str, catalogue: Catalogue) -> set[str]:
    """The columns that neither store a field nor are internal, and those that are listed and should not be."""
    storing = {column.key for column, _ in pairs(service, catalogue)}
    return (catalogue.columns.keys() - storing) ^ INTERNAL[service].keys()


def unlisted_fields(service: str, catalogue: Catalogue) -> set[str]:
    """The fields that are neither stored nor listed as such, and those that are listed and should not be."""
    stored = {key(field) for _, field in pairs(service, catalogue)}
    names = {column.name for column in catalogue.columns.values()}
    expected = {key(field) for field in fields(service) if has_rules(field) or field.name in names}
    return (expected - stored) ^ NOT_STORED[service].keys()


async def looser(service: str, catalogue: Catalogue) -> list[str]:
    """Where a column may hold what the field that it stores may not have."""
    found = []
    for column, field in pairs(service, catalogue):
        wider = WIDER.get(service, {}).get(column.key, {})
        if column.is_nullable and not allows(field, None) and None not in wider:
            found.append(f"{column.key} may be NULL, {key(field)} may not")
        if SUMMED.get(service, {}).get(column.key, ("", ""))[0] == key(field):
            continue
        held = [await catalogue.held(column, value) for value in (*values(field), *column.words)]
        wrong = [value for value in held if value is not None and value not in wider and not allows(field, value)]
        if wrong:
            found.append(f"{column.key} may be {', '.join(wrong)}; {key(field)} may not")
    return found


async def tighter(service: str, catalogue: Catalogue) -> list[str]:
    """Where a column refuses what may come to the service."""
    found = []
    taken = fields_taken(service)
    for column, field in pairs(service, catalogue):
        right = [value for value in values(field) if field in taken and allows(field, value)]
        refused = [value for value in right if await catalogue.held(column, value) is None]
        if refused:
            found.append(f"{key(field)} may be {', '.join(refused)}; {column.key} may not")
    return found


async def held_words(column: Column, words: Iterable[str], catalogue: Catalogue) -> set[str]:
    """Those of the words that the column takes."""
    return {word for word in words if await catalogue.held(column, word) is not None}


async def statuses_held(catalogue: Catalogue) -> dict[str, set[str]]:
    """The statuses that each column takes, of those of the contract, those that the column names and some others."""
    columns = [column for column in catalogue.columns.values() if column.name == "status"]
    return {column.key: await held_words(column, {*column.words, *values(STATUS)}, catalogue) for column in columns}


def statuses() -> set[str]:
    """The statuses of an order in the contract."""
    return {*getattr(rules(STATUS).string, "in")}


# What has to hold


def test_every_database_is_compared() -> None:
    assert {*SERVICES} == {*DATABASES} == INTERNAL.keys() == NOT_STORED.keys()


every_service = pytest.mark.parametrize("service", SERVICES)


@every_service
async def test_a_column_stores_a_field_of_the_contract_or_is_internal_for_a_reason(
    service: str, catalogue: Catalogue
) -> None:
    assert unlisted_columns(service, catalogue) == set()
    assert all(INTERNAL[service].values())


@every_service
async def test_a_field_with_rules_is_stored_or_is_not_for_a_reason(service: str, catalogue: Catalogue) -> None:
    assert unlisted_fields(service, catalogue) == set()
    assert all(NOT_STORED[service].values())


@pytest.mark.parametrize("service", RENAMED)
async def test_a_column_of_another_name_stores_the_field_that_is_listed(service: str, catalogue: Catalogue) -> None:
    found = {(column.key, key(field)) for column, field in pairs(service, catalogue)}

    assert found >= RENAMED[service].items()


@every_service
async def test_a_column_holds_nothing_that_the_rules_of_its_field_forbid(service: str, catalogue: Catalogue) -> None:
    assert await looser(service, catalogue) == []


@pytest.mark.parametrize(
    ("service", "name", "value"),
    [(service, name, value) for service, columns in WIDER.items() for name, more in columns.items() for value in more],
)
async def test_a_column_holds_what_is_listed_beside_the_values_of_its_field(
    service: str, name: str, value: str | None, catalogue: Catalogue
) -> None:
    column = catalogue.columns[name]
    stored = [field for each, field in pairs(service, catalogue) if each == column]

    assert not any(allows(field, value) for field in stored)
    assert column.is_nullable if value is None else await catalogue.held(column, value) == value
    assert WIDER[service][name][value]


@every_service
async def test_a_column_takes_all_that_the_rules_allow_to_come(service: str, catalogue: Catalogue) -> None:
    assert await tighter(service, catalogue) == []


@pytest.mark.parametrize(
    ("service", "name", "field", "items"),
    [(service, name, *listed) for service, columns in SUMMED.items() for name, listed in columns.items()],
)
async def test_a_sum_is_at_most_that_of_all_items_of_a_request(
    service: str, name: str, field: str, items: str, catalogue: Catalogue
) -> None:
    found = {key(each): rules(each) for each in fields(service)}
    least, most = found[field].uint32.gte, found[field].uint32.lte * found[items].repeated.max_items
    numbers = [str(number) for number in (least - 1, least, most, most + 1)]

    assert await held_words(catalogue.columns[name], numbers, catalogue) == {str(least), str(most)}


@pytest.mark.parametrize(
    ("service", "columns"),
    [("cart", []), ("loms", ["orders.status", "outbox.status"]), ("notifier", ["notifications.status"])],
)
async def test_the_statuses_of_the_schema_are_those_of_the_contract(columns: list[str], catalogue: Catalogue) -> None:
    assert await statuses_held(catalogue) == dict.fromkeys(columns, statuses())


def test_the_statuses_in_the_document_of_the_events_are_those_of_the_contract() -> None:
    document = json.loads((ROOT / "gen/asyncapi/asyncapi.json").read_text())

    assert {*document["components"]["schemas"]["OrderEvent"]["properties"]["status"]["enum"]} == statuses()


# What would be found

LOOSER = [
    (
        "cart",
        "cart_items DROP CONSTRAINT cart_items_sku_check",
        "cart_items.sku may be -1, 0, 4294967296; ItemAddRequest.sku may not",
    ),
    (
        "cart",
        "cart_items DROP CONSTRAINT cart_items_user_id_fkey",
        "cart_items.user_id may be -9223372036854775808, -9223372036854775807, -1, 0; ItemAddRequest.user_id may not",
    ),
    (
        "cart",
        "checkouts ALTER request_id TYPE text",
        f"checkouts.request_id may be , x, {UUID.replace('-', '')}, {UUID[:-1]}; CheckoutRequest.request_id may not",
    ),
    ("loms", "outbox ALTER moment DROP NOT NULL", "outbox.moment may be NULL, OrderEvent.moment may not"),
    (
        "notifier",
        "notifications DROP CONSTRAINT notifications_status_check, ADD CHECK (status IN ('new', 'it''s lost'))",
        "notifications.status may be it's lost; Notification.status may not",
    ),
    (
        "notifier",
        "order_sequences DROP CONSTRAINT order_sequences_last_sequence_check, ALTER last_sequence TYPE integer",
        "order_sequences.last_sequence may be -1; OrderEventHeaders.sequence may not",
    ),
]
TIGHTER = [
    ("cart", "cart_items ADD CHECK (count < 65535)", "ItemAddRequest.count may be 65535; cart_items.count may not"),
    (
        "loms",
        "order_items ALTER sku TYPE integer",
        "OrderItem.sku may be 4294967294, 4294967295; order_items.sku may not",
    ),
    ("loms", "stocks ADD CHECK (sku > 1)", "StocksInfoRequest.sku may be 1; stocks.sku may not"),
    (
        "notifier",
        "notifications ADD CHECK (status <> 'failed')",
        "OrderEvent.status may be failed; notifications.status may not",
    ),
]


@pytest.mark.parametrize(("service", "change", "finding"), LOOSER, ids=[change for _, change, _ in LOOSER])
async def test_a_looser_column_would_be_found(
    service: str, change: str, finding: str, connection: asyncpg.Connection
) -> None:
    await connection.execute(f"ALTER TABLE {change}")

    assert finding in await looser(service, await catalogue_of(connection))


@pytest.mark.parametrize(("service", "change", "finding"), TIGHTER, ids=[change for _, change, _ in TIGHTER])
async def test_a_tighter_column_would_be_found(
    service: str, change: str, finding: str, connection: asyncpg.Connection
) -> None:
    await connection.execute(f"ALTER TABLE {change}")

    assert finding in await tighter(service, await catalogue_of(connection))


@pytest.mark.parametrize("service", ["cart"])
async def test_a_column_that_nobody_has_listed_would_be_found(service: str, connection: asyncpg.Connection) -> None:
    await connection.execute("ALTER TABLE carts ADD discount integer, DROP ordered_version")

    assert unlisted_columns(service, await catalogue_of(connection)) == {"carts.discount", "carts.ordered_version"}


@pytest.mark.parametrize("service", ["cart"])
async def test_a_field_that_no_column_stores_any_more_would_be_found(
    service: str, connection: asyncpg.Connection
) -> None:
    await connection.execute("ALTER TABLE checkouts DROP request_id; ALTER TABLE carts ADD name text")

    assert unlisted_fields(service, await catalogue_of(connection)) == {"CheckoutRequest.request_id"}


@pytest.mark.parametrize(
    ("service", "change", "column", "more"),
    [
        ("loms", "TYPE order_status RENAME VALUE 'payed' TO 'paid'", "orders.status", {"payed", "paid"}),
        ("notifier", "TABLE notifications DROP CONSTRAINT notifications_status_check", "notifications.status", {"x"}),
        ("notifier", "TABLE notifications ADD CHECK (status <> 'new')", "notifications.status", {"new"}),
    ],
)
async def test_a_status_of_one_side_alone_would_be_found(
    change: str, column: str, more: set[str], connection: asyncpg.Connection
) -> None:
    await connection.execute(f"ALTER {change}")

    assert (await statuses_held(await catalogue_of(connection)))[column] ^ statuses() >= more
