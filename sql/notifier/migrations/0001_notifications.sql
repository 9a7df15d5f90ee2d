CREATE TABLE order_sequences (
    order_id bigint PRIMARY KEY CHECK (order_id > 0),
    last_sequence integer NOT NULL CHECK (last_sequence > 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE order_sequences IS 'The last change of each order that was notified of.';

CREATE TABLE notifications (
    order_id bigint NOT NULL REFERENCES order_sequences,
    sequence integer NOT NULL CHECK (sequence > 0),
    status text NOT NULL CHECK (status IN ('new', 'awaiting payment', 'failed', 'payed', 'cancelled')),
    moment timestamptz NOT NULL,
    PRIMARY KEY (order_id, sequence)
);
