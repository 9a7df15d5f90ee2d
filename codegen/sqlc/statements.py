"""What the text of a statement tells that sqlc does not."""

import re

_QUOTED = re.compile(
    r"""
      "(?:""|[^"])*"                             # a name, which stays
    | --[^\n]* | /\*.*?\*/                       # a comment
    | \b[eE]'(?:\\.|''|[^'\\])*'                 # a string with escapes
    | '(?:''|[^'])*'                             # a string
    | \$(?P<tag>[^\W\d]\w*|)\$.*?\$(?P=tag)\$    # a string in dollars
    """,
    re.VERBOSE | re.DOTALL,
)
_READS = re.compile(r"[\s(]*(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)
_WRITES = re.compile(
    r"""
    \b(?:INSERT | UPDATE | DELETE | MERGE | TRUNCATE | INTO | FOR\s+(?:KEY\s+)?SHARE)\b
    | \b(?:
        nextval | setval | set_config | pg_notify | pg_(?:try_)?advisory_\w+ | lo_\w+
      | pg_current_xact_id | txid_current
    )\s*\(
    """,
    re.IGNORECASE | re.VERBOSE,
)
_OUTER = re.compile(
    r'\b(LEFT|RIGHT|FULL)\s+(?:OUTER\s+)?JOIN\b\s*(?:ONLY\b\s*)?((?:[\w"]+\s*\.\s*)?[\w"]+|\()', re.IGNORECASE
)


def visible(text: str) -> str:
    """The statement without its comments and strings."""
    return _QUOTED.sub(lambda found: found[0] if found[0].startswith('"') else " ", text)


def reads_only(text: str) -> bool:
    """Whether a standby server may run the statement: it is a query that changes nothing and locks no row.

    A word that would change something counts wherever it stands, be it the name of a column: what is
    wrongly taken for a change only moves to the class for the primary server. What a function of the
    schema does is not known; a standby server refuses one that writes.
    """
    statement = visible(text)
    return bool(_READS.match(statement)) and not _WRITES.search(statement)


def optional_tables(text: str) -> frozenset[str] | None:
    """The tables, in lower case, that a LEFT JOIN finds no row of, perhaps. None: that cannot be told,
    for there is a RIGHT or FULL JOIN, or a LEFT JOIN with more than a table.
    """
    joins = _OUTER.findall(visible(text).lower())
    names = {name.split(".")[-1].strip(' "') for _, name in joins}
    if any(side != "left" for side, _ in joins) or names & {"(", "lateral"}:
        return None
    return frozenset(names)
