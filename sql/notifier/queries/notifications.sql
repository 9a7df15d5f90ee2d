-- name: RecordNotification :one
-- Stores a notification unless the order has this one or a later one, and tells whether it did.
WITH advanced AS (
    INSERT INTO order_sequences AS s (order_id, last_sequence)
    VALUES (@order_id::bigint, @sequence::bigint)
    ON CONFLICT (order_id) DO UPDATE SET last_sequence = excluded.last_sequence
    WHERE s.last_sequence < excluded.last_sequence
    RETURNING s.order_id, s.last_sequence
),

recorded AS (
    INSERT INTO notifications (order_id, sequence, status, moment)
    SELECT
        a.order_id,
        a.last_sequence,
        @status::text,
        @moment::timestamptz
    FROM advanced AS a
    RETURNING notifications.order_id
)

SELECT (count(*) > 0)::boolean AS is_new FROM recorded;

-- name: NotificationsOfOrder :many
-- The notifications of an order, in order.
SELECT * FROM notifications
WHERE notifications.order_id = @order_id
ORDER BY notifications.sequence;
