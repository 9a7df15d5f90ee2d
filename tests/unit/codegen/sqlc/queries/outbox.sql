-- name: Sent :execrows
DELETE FROM outbox WHERE event_id = ANY(@event_ids::uuid[]);
