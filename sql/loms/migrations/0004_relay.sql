CREATE TABLE relay_lead (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    relay_id uuid NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE relay_lead IS 'Which relay sends what is in the outbox.';

ALTER TABLE outbox ADD COLUMN traceparent text;
COMMENT ON COLUMN outbox.traceparent IS 'The trace of the call that has changed the order, in the form of W3C.';
