-- name: PutEntry :exec
-- Stores an entry, in the place of the one that is there.
INSERT INTO entries (user_id, sku, count) VALUES (@user_id, @sku, @count)
ON CONFLICT (user_id, sku) DO UPDATE SET count = excluded.count;

-- name: Entry :one
-- An entry.
SELECT * FROM entries AS e
WHERE e.user_id = @user_id AND e.sku = @sku;

-- name: Entries :many
-- The first entries of a user behind a sku, in sku order.
SELECT * FROM entries AS e
WHERE e.user_id = @user_id AND e.sku > @start_after_sku
ORDER BY e.sku
LIMIT @batch;
