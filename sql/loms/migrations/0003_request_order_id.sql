-- A request_id has led to an order.
ALTER TABLE requests ADD CHECK (order_id > 0);
