"""A catalog of two tables, for requests without sqlc."""

from codegen.sqlc.request import Column, GenerateRequest, Identifier, Table


def db_type(name: str) -> Identifier:
    schema, _, name = name.rpartition(".")
    return Identifier(schema, name)


ID = Column("id", db_type("bigserial"), not_null=True)
NOTE = Column("note", db_type("text"))
ITEMS, NOTES = Identifier("public", "items"), Identifier("public", "notes")
REQUEST = GenerateRequest(
    engine="postgresql",
    default_schema="public",
    tables=(Table(ITEMS, (ID, NOTE)), Table(NOTES, (NOTE,))),
    enums=(),
    queries=(),
    sqlc_version="v1.31.1",
    options={"package": "some_db"},
)
