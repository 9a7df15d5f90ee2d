-- name: CreateOrder :one
-- Creates an order, reserves all of its items or none, and writes its events.
-- Gives no row when the user's request_id was used before. The skus are ascending and each of them is there once.
WITH request AS (
    INSERT INTO requests (user_id, request_id, body_hash, order_id, created_at)
    SELECT
        @user_id::bigint,
        sqlc.narg('request_id')::uuid,
        @body_hash::bytea,
        nextval(pg_get_serial_sequence('orders', 'order_id')),
        @moment::timestamptz
    WHERE sqlc.narg('request_id')::uuid IS NOT NULL
    ON CONFLICT DO NOTHING
    RETURNING requests.order_id
),

numbered AS (
    SELECT request.order_id FROM request
    UNION ALL
    SELECT nextval(pg_get_serial_sequence('orders', 'order_id')) WHERE sqlc.narg('request_id')::uuid IS NULL
),

wanted AS (
    SELECT
        unnest(@skus::bigint []) AS sku,
        unnest(@counts::bigint []) AS count
),

locked AS ( -- in sku order: two orders over the same rows cannot deadlock
    SELECT
        s.sku,
        s.total,
        s.reserved,
        s.total - s.reserved AS free
    FROM stocks AS s
    WHERE s.sku = ANY(@skus::bigint []) AND EXISTS (SELECT 1 FROM numbered)
    ORDER BY s.sku
    FOR UPDATE
),

verdict AS ( -- an unknown sku is short, too
    SELECT coalesce(array_agg(w.sku ORDER BY w.sku) FILTER (WHERE coalesce(l.free, 0) < w.count), '{}') AS short
    FROM wanted AS w LEFT JOIN locked AS l ON w.sku = l.sku
),

reserved AS ( -- from the locked rows: the table's check would be made with those of the snapshot
    UPDATE stocks AS s SET total = l.total, reserved = l.reserved + w.count
    FROM wanted AS w INNER JOIN locked AS l ON w.sku = l.sku, verdict AS v, numbered
    WHERE v.short = '{}' AND s.sku = l.sku AND s.sku = ANY(@skus::bigint [])
    RETURNING s.sku
),

created AS (
    INSERT INTO orders (order_id, user_id, status, sequence, short, created_at)
    OVERRIDING SYSTEM VALUE
    SELECT
        n.order_id,
        @user_id::bigint,
        (CASE WHEN v.short = '{}' THEN 'awaiting payment' ELSE 'failed' END)::order_status,
        2,
        v.short,
        @moment::timestamptz
    FROM numbered AS n, verdict AS v
    RETURNING orders.order_id, orders.status, orders.short
),

items AS (
    INSERT INTO order_items (order_id, sku, count)
    SELECT
        c.order_id,
        w.sku,
        w.count
    FROM created AS c, wanted AS w
    RETURNING order_items.sku
),

events AS (
    INSERT INTO outbox (order_id, sequence, user_id, status, moment, traceparent)
    SELECT
        c.order_id,
        e.sequence,
        @user_id::bigint,
        e.status,
        @moment::timestamptz,
        sqlc.narg('traceparent')::text
    FROM created AS c, LATERAL (
        SELECT
            1 AS sequence,
            'new'::order_status AS status
        UNION ALL
        SELECT
            2,
            c.status
    ) AS e
    ORDER BY e.sequence
    RETURNING outbox.id
)

SELECT
    created.order_id,
    created.short
FROM created;

-- name: OrderOfRequest :one
-- What a request_id has led to.
SELECT
    r.body_hash,
    r.order_id,
    o.short
FROM requests AS r INNER JOIN orders AS o ON r.order_id = o.order_id
WHERE r.user_id = @user_id AND r.request_id = @request_id;

-- name: ForgetRequests :execrows
-- Forgets the oldest of the request_ids that were used before a moment.
WITH old AS (
    SELECT
        r.user_id,
        r.request_id
    FROM requests AS r
    WHERE r.created_at <= @used_before
    ORDER BY r.created_at
    LIMIT @batch
    FOR UPDATE SKIP LOCKED
)

DELETE FROM requests USING old
WHERE requests.user_id = old.user_id AND requests.request_id = old.request_id;

-- name: Order :one
-- An order with its items in sku order. With an owner: only if it is his.
SELECT
    o.order_id,
    o.user_id,
    o.status,
    array_agg(i.sku ORDER BY i.sku)::bigint [] AS skus,
    array_agg(i.count ORDER BY i.sku)::bigint [] AS counts
FROM orders AS o INNER JOIN order_items AS i ON o.order_id = i.order_id
WHERE o.order_id = @order_id AND o.user_id = coalesce(sqlc.narg('owner')::bigint, o.user_id)
GROUP BY o.order_id;

-- name: ChangeOrder :one
-- Ends an order that awaits payment: sells its units or releases them, and writes the event.
-- Gives the status that it found. With an owner: only if the order is his.
WITH found AS (
    SELECT
        o.order_id,
        o.status
    FROM orders AS o
    WHERE o.order_id = @order_id AND o.user_id = coalesce(sqlc.narg('owner')::bigint, o.user_id)
    FOR UPDATE
),

changed AS (
    UPDATE orders AS o SET status = @target::order_status, sequence = o.sequence + 1
    FROM found AS f
    WHERE o.order_id = f.order_id AND f.status = 'awaiting payment'
    RETURNING o.order_id, o.sequence, o.user_id, o.status
),

units AS (
    SELECT
        i.sku,
        i.count
    FROM order_items AS i INNER JOIN changed AS c ON i.order_id = c.order_id
),

locked AS (
    SELECT s.sku FROM stocks AS s
    WHERE s.sku IN (SELECT u.sku FROM units AS u)
    ORDER BY s.sku
    FOR UPDATE
),

moved AS (
    UPDATE stocks AS s
    SET reserved = s.reserved - u.count, total = s.total - (CASE WHEN @sold::boolean THEN u.count ELSE 0 END)
    FROM units AS u INNER JOIN locked AS l ON u.sku = l.sku
    WHERE s.sku = u.sku
    RETURNING s.sku
),

events AS (
    INSERT INTO outbox (order_id, sequence, user_id, status, moment, traceparent)
    SELECT
        c.order_id,
        c.sequence,
        c.user_id,
        c.status,
        @moment::timestamptz,
        sqlc.narg('traceparent')::text
    FROM changed AS c
    RETURNING outbox.id
)

SELECT found.status FROM found;

-- name: ChangeUnpaidOrders :many
-- Ends the oldest orders that still await payment, but for those that somebody else has in hand.
WITH due AS (
    SELECT o.order_id FROM orders AS o
    WHERE o.status = 'awaiting payment' AND o.created_at <= @created_before
    ORDER BY o.created_at, o.order_id
    LIMIT @batch
    FOR UPDATE SKIP LOCKED
),

changed AS (
    UPDATE orders AS o SET status = @target::order_status, sequence = o.sequence + 1
    FROM due AS d
    WHERE o.order_id = d.order_id
    RETURNING o.order_id, o.sequence, o.user_id, o.status
),

units AS (
    SELECT
        i.sku,
        sum(i.count)::bigint AS count
    FROM order_items AS i INNER JOIN changed AS c ON i.order_id = c.order_id
    GROUP BY i.sku
),

locked AS (
    SELECT s.sku FROM stocks AS s
    WHERE s.sku IN (SELECT u.sku FROM units AS u)
    ORDER BY s.sku
    FOR UPDATE
),

moved AS (
    UPDATE stocks AS s
    SET reserved = s.reserved - u.count, total = s.total - (CASE WHEN @sold::boolean THEN u.count ELSE 0 END)
    FROM units AS u INNER JOIN locked AS l ON u.sku = l.sku
    WHERE s.sku = u.sku
    RETURNING s.sku
),

events AS (
    INSERT INTO outbox (order_id, sequence, user_id, status, moment)
    SELECT
        c.order_id,
        c.sequence,
        c.user_id,
        c.status,
        @moment::timestamptz
    FROM changed AS c
    RETURNING outbox.id
)

SELECT changed.order_id FROM changed ORDER BY changed.order_id;
