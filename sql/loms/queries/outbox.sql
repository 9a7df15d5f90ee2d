-- name: UnsentEvents :many
-- The oldest events that are not known to be sent.
SELECT * FROM outbox
ORDER BY outbox.id
LIMIT @batch;

-- name: DeleteEvents :execrows
-- Forgets events that were sent.
DELETE FROM outbox
WHERE outbox.id = ANY(@ids::bigint []);
