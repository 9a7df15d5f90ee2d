-- name: AvailableStock :one
-- How many units of a sku can be reserved.
SELECT (s.total - s.reserved)::bigint AS available FROM stocks AS s
WHERE s.sku = @sku;
