-- name: Cart :one
-- The cart of a user with its lines in sku order.
SELECT
    c.version,
    coalesce(array_agg(i.sku ORDER BY i.sku) FILTER (WHERE i.sku IS NOT NULL), '{}')::bigint [] AS skus,
    coalesce(array_agg(i.count ORDER BY i.sku) FILTER (WHERE i.sku IS NOT NULL), '{}')::bigint [] AS counts
FROM carts AS c LEFT JOIN cart_items AS i ON c.user_id = i.user_id
WHERE c.user_id = @user_id
GROUP BY c.user_id;

-- name: LockCart :exec
-- Locks the cart of a user, and makes it if there is none: what follows in the transaction sees it as it is.
INSERT INTO carts AS c (user_id, version) VALUES (@user_id, nextval('cart_versions'))
ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id WHERE false;

-- name: AddItem :one
-- Adds units to a line of a locked cart, unless that line or the cart would be too full.
WITH lines AS (
    SELECT
        count(*) FILTER (WHERE i.sku = @sku) AS same,
        count(*) AS number,
        coalesce(sum(i.count) FILTER (WHERE i.sku = @sku), 0) + @count::integer AS total
    FROM cart_items AS i
    WHERE i.user_id = @user_id
),

verdict AS (
    SELECT
        l.total > @line_limit::bigint AS is_line_full,
        l.same = 0 AND l.number >= @cart_limit::bigint AS is_cart_full
    FROM lines AS l
),

added AS (
    INSERT INTO cart_items AS i (user_id, sku, count)
    SELECT
        @user_id::bigint,
        @sku::bigint,
        @count::integer
    FROM verdict AS v
    WHERE NOT v.is_line_full AND NOT v.is_cart_full
    ON CONFLICT (user_id, sku) DO UPDATE SET count = i.count + excluded.count
    RETURNING i.user_id
),

changed AS (
    UPDATE carts AS c SET version = nextval('cart_versions')
    FROM added AS a
    WHERE c.user_id = a.user_id
    RETURNING c.version
)

SELECT
    v.is_line_full::boolean AS is_line_full,
    v.is_cart_full::boolean AS is_cart_full
FROM verdict AS v;

-- name: DeleteItem :exec
-- Deletes a line of a locked cart.
WITH deleted AS (
    DELETE FROM cart_items AS i
    WHERE i.user_id = @user_id AND i.sku = @sku
    RETURNING i.user_id
)

UPDATE carts AS c SET version = nextval('cart_versions')
FROM deleted AS d
WHERE c.user_id = d.user_id;

-- name: ClearCart :exec
-- Deletes every line of a locked cart.
WITH deleted AS (
    DELETE FROM cart_items AS i
    WHERE i.user_id = @user_id
    RETURNING i.user_id
)

UPDATE carts AS c SET version = nextval('cart_versions')
FROM (SELECT DISTINCT deleted.user_id FROM deleted) AS d
WHERE c.user_id = d.user_id;

-- name: OrderOfCheckout :one
-- The order that a checkout with this request_id has led to.
SELECT c.order_id FROM checkouts AS c
WHERE c.user_id = @user_id AND c.request_id = @request_id;

-- name: RememberCheckout :exec
-- Stores which order a request_id has led to.
INSERT INTO checkouts (user_id, request_id, order_id, created_at)
VALUES (@user_id, @request_id, @order_id, @moment)
ON CONFLICT DO NOTHING;

-- name: TakeOrdered :exec
-- Takes out of a locked cart what was ordered, once for each version.
WITH changed AS (
    UPDATE carts AS c SET version = nextval('cart_versions'), ordered_version = @version
    WHERE c.user_id = @user_id AND c.ordered_version < @version
    RETURNING c.user_id
),

ordered AS (
    SELECT
        unnest(@skus::bigint []) AS sku,
        unnest(@counts::bigint []) AS count
),

gone AS (
    DELETE FROM cart_items AS i
    USING changed AS c, ordered AS o
    WHERE i.user_id = c.user_id AND i.sku = o.sku AND i.count <= o.count
    RETURNING i.sku
)

UPDATE cart_items AS i SET count = i.count - o.count
FROM changed AS c, ordered AS o
WHERE i.user_id = c.user_id AND i.sku = o.sku AND i.count > o.count;

-- name: RefuseCheckout :exec
-- Gives the cart another version if it still has this one.
UPDATE carts AS c SET version = nextval('cart_versions')
WHERE c.user_id = @user_id AND c.version = @version;

-- name: ForgetCheckouts :execrows
-- Forgets the oldest of the request_ids that were used before a moment.
WITH old AS (
    SELECT
        c.user_id,
        c.request_id
    FROM checkouts AS c
    WHERE c.created_at <= @used_before
    ORDER BY c.created_at
    LIMIT @batch
    FOR UPDATE SKIP LOCKED
)

DELETE FROM checkouts USING old
WHERE checkouts.user_id = old.user_id AND checkouts.request_id = old.request_id;
