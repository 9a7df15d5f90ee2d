CREATE TABLE entries (
    user_id bigint NOT NULL CHECK (user_id > 0),
    sku bigint NOT NULL CHECK (sku BETWEEN 1 AND 4294967295),
    count integer NOT NULL CHECK (count BETWEEN 1 AND 65535),
    PRIMARY KEY (user_id, sku)
) WITH (fillfactor = 70);
