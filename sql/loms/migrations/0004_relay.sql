CREATE TABLE relay_lead (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    relay_id uuid NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE relay_lead IS 'Which relay sends what is in the outbox.';
