-- A request_id has led to an order.
ALTER TABLE requests ADD CHECK (order_id > 0);

-- No update of an order is a HOT one: its status is in the condition of an index.
ALTER TABLE orders RESET (fillfactor);
