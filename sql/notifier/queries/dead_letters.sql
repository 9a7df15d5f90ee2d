-- name: ParkEvents :many
-- Stores events of locked orders, in their order, but for those that are there; gives the ids of the new ones.
-- An order id of 0 is none.
INSERT INTO dead_letters (event_id, order_id, partition, position, key, value, headers, error)
SELECT
    e.event_id,
    nullif(e.order_id, 0),
    e.partition,
    e.position,
    e.key,
    e.value,
    e.headers,
    e.error
FROM (
    SELECT
        generate_subscripts(@event_ids::text [], 1) AS place,
        unnest(@event_ids::text []) AS event_id,
        unnest(@order_ids::bigint []) AS order_id,
        unnest(@partitions::integer []) AS partition,
        unnest(@positions::bigint []) AS position,
        unnest(@keys::bytea []) AS key,
        unnest(@bodies::bytea []) AS value,
        unnest(@headers::jsonb []) AS headers,
        unnest(@errors::text []) AS error
) AS e
ORDER BY e.place
ON CONFLICT (event_id) DO NOTHING
RETURNING dead_letters.event_id;

-- name: DeadLetters :many
-- The first dead letters after one of them.
SELECT * FROM dead_letters
WHERE dead_letters.id > @after
ORDER BY dead_letters.id
LIMIT @batch;

-- name: DeleteDeadLetter :execrows
-- Takes away a dead letter.
DELETE FROM dead_letters
WHERE dead_letters.id = @id;

-- name: ChangeError :exec
-- Says anew what is wrong with a dead letter.
UPDATE dead_letters SET error = @error
WHERE dead_letters.id = @id;
