-- +goose Up
CREATE TYPE order_status AS ENUM ('new', 'awaiting payment', 'failed', 'payed', 'cancelled');
COMMENT ON TYPE order_status IS 'Where an order stands.';

CREATE TABLE orders (
    id         bigserial PRIMARY KEY,
    user_id    bigint NOT NULL,
    status     order_status NOT NULL DEFAULT 'new',
    request_id uuid,
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE orders IS 'What users have ordered.';
COMMENT ON COLUMN orders.request_id IS 'The client''s name of the "request".';

CREATE TABLE order_items (
    order_id bigint NOT NULL REFERENCES orders (id),
    sku      bigint NOT NULL,
    count    integer NOT NULL,
    PRIMARY KEY (order_id, sku)
);

CREATE TABLE stocks (
    sku      bigint PRIMARY KEY,
    total    integer NOT NULL,
    reserved integer NOT NULL DEFAULT 0,
    CHECK (reserved <= total)
);

CREATE TABLE outbox (
    event_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    order_id bigint NOT NULL,
    payload  jsonb NOT NULL
);

CREATE SCHEMA warehouse;
CREATE TYPE warehouse.shelf AS ENUM ('1st', 'left / right', 'ниша');

-- Every type that is supported, always there and perhaps not.
CREATE TABLE warehouse.every_type (
    id            bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    "class"       boolean NOT NULL,
    small         smallint NOT NULL,
    real_number   real NOT NULL,
    double_number double precision NOT NULL,
    price         numeric(12, 2) NOT NULL,
    name          varchar(20) NOT NULL,
    code          char(3) NOT NULL,
    raw           bytea NOT NULL,
    day           date NOT NULL,
    clock         time NOT NULL,
    clock_zoned   timetz NOT NULL,
    local_time    timestamp NOT NULL,
    moment        timestamptz NOT NULL,
    span          interval NOT NULL,
    uuid          uuid NOT NULL,
    data          jsonb NOT NULL,
    plain_data    json NOT NULL,
    shelf         warehouse.shelf NOT NULL,
    numbers       bigint[] NOT NULL,
    words         text[] NOT NULL,
    shelves       warehouse.shelf[] NOT NULL,
    documents     jsonb[] NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE warehouse.perhaps (
    id            serial PRIMARY KEY,
    flag          boolean,
    "Small Number" smallint,
    real_number   real,
    double_number double precision,
    price         numeric,
    name          text,
    raw           bytea,
    day           date,
    moment        timestamptz,
    span          interval,
    uuid          uuid,
    data          jsonb,
    shelf         warehouse.shelf,
    numbers       bigint[],
    shelves       warehouse.shelf[]
);

CREATE VIEW open_orders AS SELECT id, user_id FROM orders WHERE status = 'awaiting payment';

-- +goose Down
DROP TABLE orders;
