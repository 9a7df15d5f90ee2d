"""What LOMS is measured against: orders and stock with FastAPI and the ORM of SQLAlchemy, as usual.

It does what LOMS does but for request ids, rules of the tables, access log, and sending what is in the outbox.
"""
