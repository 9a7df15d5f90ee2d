-- Never a version that LOMS may have seen, even if this database is made anew and that of LOMS is not.
CREATE SEQUENCE cart_versions AS bigint;
SELECT setval('cart_versions', (extract(EPOCH FROM clock_timestamp()) * 1e9)::bigint);

CREATE TABLE carts (
    user_id bigint PRIMARY KEY CHECK (user_id > 0),
    version bigint NOT NULL,
    ordered_version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
COMMENT ON COLUMN carts.version IS 'Another one after every change.';
COMMENT ON COLUMN carts.ordered_version IS 'The last version that became an order.';

CREATE TABLE cart_items (
    user_id bigint NOT NULL REFERENCES carts,
    sku bigint NOT NULL CHECK (sku BETWEEN 1 AND 4294967295),
    count integer NOT NULL CHECK (count BETWEEN 1 AND 65535),
    PRIMARY KEY (user_id, sku)
) WITH (fillfactor = 70);

CREATE TABLE checkouts (
    user_id bigint NOT NULL CHECK (user_id > 0),
    request_id uuid NOT NULL,
    order_id bigint NOT NULL CHECK (order_id > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, request_id)
);
COMMENT ON TABLE checkouts IS 'Which request_id has led to which order.';
CREATE INDEX checkouts_created_at ON checkouts (created_at);
