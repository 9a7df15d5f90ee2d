-- The contract allows a sequence of 64 bits.
ALTER TABLE order_sequences ALTER COLUMN last_sequence TYPE bigint;
ALTER TABLE notifications ALTER COLUMN sequence TYPE bigint;
