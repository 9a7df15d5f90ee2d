-- An order can be locked before anything of it is recorded.
ALTER TABLE order_sequences
DROP CONSTRAINT order_sequences_last_sequence_check,
ADD CONSTRAINT order_sequences_last_sequence_check CHECK (last_sequence >= 0);
COMMENT ON COLUMN order_sequences.last_sequence IS '0 if it was notified of none.';

CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id text NOT NULL UNIQUE,
    order_id bigint REFERENCES order_sequences,
    partition integer NOT NULL CHECK (partition >= 0),
    position bigint NOT NULL CHECK (position >= 0),
    key bytea NOT NULL,
    value bytea NOT NULL,
    headers jsonb NOT NULL CHECK (jsonb_typeof(headers) = 'array'),
    error text NOT NULL CHECK (error <> ''),
    parked_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE dead_letters IS 'The events that could not be handled, and those of their orders that came later.';
COMMENT ON COLUMN dead_letters.id IS 'Ascends within an order as its events came.';
COMMENT ON COLUMN dead_letters.order_id IS 'NULL if the key of the event is none.';

-- Whether an order has something parked.
CREATE INDEX dead_letters_order_id ON dead_letters (order_id);
