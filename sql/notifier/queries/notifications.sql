-- name: LockOrders :one
-- Locks orders, and makes those that are not there: what follows in the transaction sees them as they are.
-- Gives the id of the transaction. The lowest order comes first: two over the same orders cannot deadlock.
WITH locked AS (
    INSERT INTO order_sequences AS s (order_id, last_sequence)
    SELECT
        o.order_id,
        0
    FROM unnest(@order_ids::bigint []) AS o (order_id)
    ORDER BY o.order_id
    ON CONFLICT (order_id) DO UPDATE SET last_sequence = excluded.last_sequence WHERE false
    RETURNING s.order_id
)

SELECT pg_current_xact_id()::text AS transaction_id;

-- name: LockedOrders :many
-- How far orders are, and whether something of them is parked.
SELECT
    s.order_id,
    s.last_sequence,
    EXISTS (SELECT FROM dead_letters AS d WHERE d.order_id = s.order_id)::boolean AS is_parked
FROM order_sequences AS s
WHERE s.order_id = ANY(@order_ids::bigint []);

-- name: RecordNotifications :exec
-- Stores notifications of locked orders.
WITH news AS (
    SELECT
        unnest(@order_ids::bigint []) AS order_id,
        unnest(@sequences::bigint []) AS sequence,
        unnest(@statuses::text []) AS status,
        unnest(@moments::timestamptz []) AS moment,
        unnest(@user_ids::bigint []) AS user_id
),

last AS (
    SELECT
        n.order_id,
        max(n.sequence) AS sequence
    FROM news AS n
    GROUP BY n.order_id
),

advanced AS (
    UPDATE order_sequences AS s SET last_sequence = l.sequence
    FROM last AS l
    WHERE s.order_id = l.order_id AND s.order_id = ANY(@order_ids::bigint [])
    RETURNING s.order_id
)

INSERT INTO notifications (order_id, sequence, status, moment, user_id)
SELECT
    n.order_id,
    n.sequence,
    n.status,
    n.moment,
    n.user_id
FROM news AS n;

-- name: IsCommitted :one
-- Whether a transaction that has ended was committed.
SELECT (pg_xact_status((@transaction_id::text)::xid8) = 'committed')::boolean AS is_committed;

-- name: NotificationsOfOrder :many
-- The notifications of an order, in order. With an owner: only if it is his.
SELECT * FROM notifications
WHERE
    notifications.order_id = @order_id
    AND (sqlc.narg('owner')::bigint IS NULL OR notifications.user_id = sqlc.narg('owner')::bigint)
ORDER BY notifications.sequence;
