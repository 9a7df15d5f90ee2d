-- name: InsertEveryType :one
INSERT INTO warehouse.every_type (
    "class", small, real_number, double_number, price, name, code, raw, day, clock, clock_zoned, local_time, moment,
    span, uuid, data, plain_data, shelf, numbers, words, shelves, documents
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
RETURNING *;

-- name: CopyEveryType :copyfrom
INSERT INTO warehouse.every_type (
    "class", small, real_number, double_number, price, name, code, raw, day, clock, clock_zoned, local_time, moment,
    span, uuid, data, plain_data, shelf, numbers, words, shelves, documents
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22);

-- name: InsertPerhaps :one
INSERT INTO warehouse.perhaps (
    flag, "Small Number", real_number, double_number, price, name, raw, day, moment, span, uuid, data, shelf, numbers,
    shelves
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
RETURNING *;

-- name: ShelfOf :one
SELECT shelf FROM warehouse.perhaps WHERE id = $1;

-- name: ShelvesOf :one
SELECT shelves FROM warehouse.perhaps WHERE id = $1;

-- name: ListEveryType :many
SELECT * FROM warehouse.every_type ORDER BY id;
