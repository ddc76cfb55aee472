"""Alembic migrations, run by the stores themselves when a database is opened.

To change the schema: change `tables.py`, add `versions/NNNN_what.py` and its number here, and run
`tools/write_docs.py`, which writes `newest.sql`, what a new database is made from. The tests that
compare the three name what is still missing.
"""

from __future__ import annotations

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Every revision, oldest first: what a start compares without importing Alembic."""

HEAD = REVISIONS[-1]
