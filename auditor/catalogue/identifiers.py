"""Which tracks have an identifier in their tags: a table that writing transactions keep up to date.

Rows of tracks hold their identifiers as JSON, which no index can find.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from auditor.catalogue.checksums import UNSEALED
from auditor.serialisation import parse_json

SINCE = 9
"""Schema version from which on there is the table."""

_AT_ONCE = 500
"""Identifiers of one query; SQLite allows for 999 in its older versions."""


def index_identifiers(connection: sqlite3.Connection, where: str = UNSEALED) -> None:
    """Enter the identifiers of tracks into the table; foreign keys follow ids and deletions."""
    rows = connection.execute(f"SELECT id, identifiers FROM tracks WHERE {where}").fetchall()
    connection.executemany("DELETE FROM identifiers WHERE track_id = ?", [row[:1] for row in rows])
    connection.executemany(
        "INSERT OR IGNORE INTO identifiers VALUES (?, ?)",
        [(identifier, track_id) for track_id, text in rows for identifier in _texts(text)],
    )


def ids_of_holders(connection: sqlite3.Connection, identifiers: Iterable[str]) -> set[str]:
    """Return the ids of the tracks that have one of some identifiers.

    In a catalogue of an older version, open for reading, none is found.
    """
    if connection.execute("PRAGMA user_version").fetchone()[0] < SINCE:
        return set()
    found: set[str] = set()
    wanted = sorted(identifiers)
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        rows = connection.execute(
            f"SELECT track_id FROM identifiers WHERE identifier IN ({marks})", some
        )
        found.update(track_id for (track_id,) in rows)
    return found


def _texts(text: object) -> Iterator[str]:
    """Yield the identifiers of a row; none where the disk has damaged it."""
    try:
        found = parse_json(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list):
        yield from (identifier for identifier in found if isinstance(identifier, str))
