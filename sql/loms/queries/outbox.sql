-- name: UnsentEvents :many
-- The oldest events that are not known to be sent.
SELECT * FROM outbox
ORDER BY outbox.id
LIMIT @batch;

-- name: DeleteEvents :execrows
-- Forgets events that were sent.
DELETE FROM outbox
WHERE outbox.id = ANY(@ids::bigint []);

-- name: Backlog :one
-- How many events are not known to be sent, at most: ids have gaps. And for how many seconds the oldest has waited.
SELECT
    coalesce(max(o.id) - min(o.id) + 1, 0)::bigint AS events,
    greatest(
        coalesce(
            extract(EPOCH FROM clock_timestamp() - (SELECT f.moment FROM outbox AS f ORDER BY f.id LIMIT 1)), 0
        ),
        0
    )::double precision AS oldest_seconds
FROM outbox AS o;

-- name: Lead :one
-- Gives the lead to a relay that has it or if nobody does, and tells whether it has it. Waits for no replica.
WITH leader AS (
    INSERT INTO relay_lead AS l (relay_id, expires_at)
    VALUES (@relay_id, clock_timestamp() + make_interval(secs => @seconds))
    ON CONFLICT (is_only) DO UPDATE SET relay_id = excluded.relay_id, expires_at = excluded.expires_at
    WHERE l.relay_id = excluded.relay_id OR l.expires_at < clock_timestamp()
    RETURNING l.relay_id
)

SELECT EXISTS (SELECT FROM leader) AND set_config('synchronous_commit', 'local', true) = 'local' AS leads;

-- name: Resign :exec
-- Takes the lead from a relay. Waits for no replica.
DELETE FROM relay_lead
WHERE relay_lead.relay_id = @relay_id AND set_config('synchronous_commit', 'local', true) = 'local';
