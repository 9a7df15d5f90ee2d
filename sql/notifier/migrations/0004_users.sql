-- Whose order it is. Of what was recorded before nobody knows.
ALTER TABLE notifications ADD COLUMN user_id bigint CHECK (user_id > 0);
