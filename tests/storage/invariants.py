"""What holds of orders, stock and events at every moment, as queries for what breaks it."""

from collections.abc import Mapping

import asyncpg

FACTS = """
WITH initial AS (
    SELECT * FROM unnest($1::bigint [], $2::bigint []) AS i (sku, units)
),

counted AS (
    SELECT
        i.sku,
        coalesce(sum(i.count) FILTER (WHERE o.status = 'awaiting payment'), 0) AS open,
        coalesce(sum(i.count) FILTER (WHERE o.status = 'payed'), 0) AS sold
    FROM order_items AS i INNER JOIN orders AS o USING (order_id)
    GROUP BY i.sku
),

told AS (
    SELECT
        order_id,
        string_agg(status::text, ' > ' ORDER BY id) AS chain,
        array_agg(sequence ORDER BY id) AS sequences,
        count(*) AS last_sequence,
        (array_agg(status ORDER BY id DESC))[1] AS last_status
    FROM outbox
    GROUP BY order_id
)
"""

BREAKS = {
    "no more is reserved than there is": """
        SELECT sku FROM stocks WHERE reserved NOT BETWEEN 0 AND total
    """,
    "what is reserved are the items of open orders": """
        SELECT s.sku FROM stocks AS s LEFT JOIN counted AS c USING (sku) WHERE s.reserved <> coalesce(c.open, 0)
    """,
    "what is gone are the items of payed orders": """
        SELECT sku FROM stocks AS s FULL JOIN initial AS i USING (sku) LEFT JOIN counted AS c USING (sku)
        WHERE i.units - s.total IS DISTINCT FROM coalesce(c.sold, 0)
    """,
    "no order is left new": """
        SELECT order_id FROM orders WHERE status = 'new'
    """,
    "the events of an order are one of its ways": """
        SELECT order_id FROM orders FULL JOIN told USING (order_id)
        WHERE (chain IN (
            'new > failed', 'new > awaiting payment', 'new > awaiting payment > payed',
            'new > awaiting payment > cancelled'
        )) IS NOT TRUE
    """,
    "the last event is the status": """
        SELECT o.order_id FROM orders AS o LEFT JOIN told AS t USING (order_id)
        WHERE t.last_status IS DISTINCT FROM o.status OR t.last_sequence IS DISTINCT FROM o.sequence
    """,
    "the sequence of the events of an order has no gap": """
        SELECT order_id FROM told
        WHERE sequences <> ARRAY(SELECT generate_series(1, last_sequence::integer))
    """,
}


async def broken(connection: asyncpg.Connection, initial: Mapping[int, int]) -> list[str]:
    """What does not hold in a snapshot of a database that began with so many units of each sku."""
    found: list[str] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for promise, query in BREAKS.items():
            rows = await connection.fetch(FACTS + query, list(initial), list(initial.values()))
            found.extend(f"{promise}, but not for {row[0]}" for row in rows)
    return found
