-- name: ListOpenOrders :many
SELECT * FROM open_orders;

-- name: List :many
SELECT user_id FROM open_orders WHERE id = @rows;
