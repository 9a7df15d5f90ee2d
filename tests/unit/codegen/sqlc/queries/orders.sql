-- name: GetOrder :one
-- The order.
SELECT * FROM orders WHERE id = $1;

-- name: GetStatus :one
SELECT status FROM orders WHERE id = $1;

-- name: GetRequestID :one
-- The request that made the order.
--
-- No order and no request are both None: "as they are".
SELECT request_id FROM orders WHERE id = $1;

-- name: ListOrders :many
SELECT id, status FROM orders
WHERE user_id = @user_id AND status = ANY(@statuses::order_status[])
ORDER BY id;

-- name: ListStatuses :many
SELECT DISTINCT status FROM orders ORDER BY status;

-- name: FindOrders :many
SELECT id FROM orders
WHERE (sqlc.narg('status')::order_status IS NULL OR status = sqlc.narg('status'))
  AND created_at BETWEEN sqlc.arg('since') AND sqlc.arg('until')
ORDER BY id
LIMIT @most;

-- name: ListItems :many
SELECT * FROM order_items WHERE order_id = $1 ORDER BY sku;

-- name: OrdersWithItems :many
SELECT sqlc.embed(orders), sqlc.embed(i) FROM orders JOIN order_items i ON i.order_id = orders.id ORDER BY i.sku;

-- name: OrdersWithStocks :many
SELECT sqlc.embed(i), sqlc.embed(stocks), i.count > stocks.total AS "is_short?"
FROM order_items i
    LEFT JOIN stocks ON stocks.sku = i.sku
ORDER BY i.sku;

-- name: ItemsWithStock :many
SELECT i.sku, i.count, s.total, s.reserved FROM order_items i LEFT JOIN stocks s ON s.sku = i.sku ORDER BY i.sku;

-- name: OrderOfEach :many
SELECT sqlc.embed(orders) FROM orders ORDER BY id;

-- name: LastOrder :one
SELECT max(id)::bigint AS "last?", count(*)::bigint AS count, 'a "\d" in dollars: $$'::text AS text FROM orders;

-- name: InsertOrder :one
INSERT INTO orders (user_id, status, request_id, created_at)
VALUES (@user_id, @status, sqlc.narg('request_id'), @created_at)
RETURNING id;

-- name: LockOrder :one
SELECT * FROM orders WHERE id = $1 FOR UPDATE;

-- name: SetStatus :execrows
UPDATE orders SET status = @status WHERE id = @id AND status = 'awaiting payment';

-- name: DeleteOrders :exec
DELETE FROM orders WHERE id > $1 AND id < $2;

-- name: AddItems :copyfrom
-- Stores items in one COPY.
INSERT INTO order_items (order_id, sku, count) VALUES ($1, $2, $3);

-- name: AddStock :exec
INSERT INTO stocks (sku, total, reserved) VALUES (@sku, @total, @reserved);

-- name: CreateOrder :one
-- Reserves every item and creates the order, or, when an item is short, creates it as failed.
WITH wanted AS (
    SELECT unnest(@skus::bigint[])::bigint AS sku, unnest(@counts::integer[])::integer AS count
), locked AS (
    -- in the order of the skus: two orders never wait for each other
    SELECT stocks.sku, stocks.total, stocks.reserved FROM stocks
    WHERE stocks.sku = ANY(@skus::bigint[])
    ORDER BY stocks.sku
    FOR UPDATE
), short AS (
    SELECT wanted.sku FROM wanted
        LEFT JOIN locked ON locked.sku = wanted.sku
    WHERE coalesce(locked.total - locked.reserved, 0) < wanted.count
), verdict AS (
    SELECT (CASE WHEN EXISTS (SELECT 1 FROM short) THEN 'failed' ELSE 'awaiting payment' END)::order_status AS status
), reserved AS (
    UPDATE stocks SET reserved = stocks.reserved + wanted.count
    FROM wanted, verdict
    WHERE stocks.sku = wanted.sku AND verdict.status = 'awaiting payment'
    RETURNING stocks.sku
), created AS (
    INSERT INTO orders (user_id, status, request_id, created_at)
    SELECT @user_id::bigint, verdict.status, sqlc.narg('request_id')::uuid, @now::timestamptz FROM verdict
    RETURNING orders.id, orders.status
), lines AS (
    INSERT INTO order_items (order_id, sku, count)
    SELECT created.id, wanted.sku, wanted.count FROM created, wanted
    RETURNING order_items.sku
), events AS (
    INSERT INTO outbox (event_id, order_id, payload)
    SELECT unnest(@event_ids::uuid[]), created.id, unnest(@payloads::jsonb[]) FROM created
    RETURNING outbox.event_id
)
SELECT
    created.id,
    created.status,
    (SELECT coalesce(array_agg(short.sku ORDER BY short.sku), '{}') FROM short)::bigint[] AS short_skus,
    (SELECT count(*) FROM events)::integer AS events
FROM created;
