"""A plugin of `sqlc generate`: typed Python on asyncpg, one module for each file of queries."""
