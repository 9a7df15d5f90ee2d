CREATE TYPE order_status AS ENUM ('new', 'awaiting payment', 'failed', 'payed', 'cancelled');

CREATE TABLE stocks (
    sku bigint PRIMARY KEY CHECK (sku BETWEEN 1 AND 4294967295),
    total bigint NOT NULL,
    reserved bigint NOT NULL DEFAULT 0,
    CONSTRAINT stocks_reserved_is_there CHECK (reserved BETWEEN 0 AND total)
) WITH (fillfactor = 70);
COMMENT ON TABLE stocks IS 'The units of a sku: all that are there, and those of them that are promised.';

CREATE TABLE orders (
    order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY CHECK (order_id > 0),
    user_id bigint NOT NULL CHECK (user_id > 0),
    status order_status NOT NULL,
    sequence integer NOT NULL CHECK (sequence > 0),
    short bigint [] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL
) WITH (fillfactor = 70);
COMMENT ON COLUMN orders.sequence IS 'The sequence number of its last event.';
COMMENT ON COLUMN orders.short IS 'The skus for which it failed.';

-- What expiry looks for.
CREATE INDEX orders_unpaid ON orders (created_at) WHERE status = 'awaiting payment';

CREATE TABLE order_items (
    order_id bigint NOT NULL REFERENCES orders,
    sku bigint NOT NULL CHECK (sku BETWEEN 1 AND 4294967295),
    count bigint NOT NULL CHECK (count BETWEEN 1 AND 6553500), -- 100 lines of 65535, summed
    PRIMARY KEY (order_id, sku)
);

CREATE TABLE requests (
    user_id bigint NOT NULL CHECK (user_id > 0),
    request_id uuid NOT NULL,
    body_hash bytea NOT NULL,
    order_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, request_id)
);
COMMENT ON TABLE requests IS 'Which request_id has led to which order.';
CREATE INDEX requests_created_at ON requests (created_at);

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL DEFAULT gen_random_uuid(),
    order_id bigint NOT NULL CHECK (order_id > 0),
    sequence integer NOT NULL CHECK (sequence > 0),
    user_id bigint NOT NULL CHECK (user_id > 0),
    status order_status NOT NULL,
    moment timestamptz NOT NULL,
    UNIQUE (order_id, sequence)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE outbox IS 'The events that are stored and not yet known to be sent.';
