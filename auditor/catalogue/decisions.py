"""Rows of a catalogue: what people decided of pairs, kept as a history that only grows.

A decision is about two contents (SHA-256), so it outlives renames, new ids and the tracks
themselves, and a submission that was never in the catalogue can carry one.  The newest decision of
a pair counts.  Times have microseconds and rise strictly within a pair, so that two processes, or
a clock that is set back, never make the older of two decisions count.
"""

from __future__ import annotations

import datetime
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator

from auditor.catalogue.checksums import NO_CHECKSUM, SINCE_ALL, checksum, version_of
from auditor.errors import CatalogueError
from auditor.records import UNDO, Decision, DecisionKind

MAX_NOTE = 2000
"""Characters of a note at most."""

MAX_BY = 200
"""Characters of a name at most."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_WHEN = "%Y-%m-%dT%H:%M:%S.%fZ"
_COLUMNS = "sha256_a, sha256_b, kind, note, decided_at, decided_by"
_MICROSECOND = datetime.timedelta(microseconds=1)


def make_decision(
    sha256_a: str, sha256_b: str, kind: str, *, note: str = "", when: str, by: str = ""
) -> Decision:
    """Return a decision in the form that is stored: hashes sorted, texts clean, time in UTC.

    Parameters
    ----------
    sha256_a, sha256_b : str
        64 hex digits each, in any order and case.
    kind : str
        A ``DecisionKind``, or ``UNDO``.
    note, by : str
        Controls other than line breaks and tabs are left out, and so is white space around them.
    when : str
        ISO 8601 with its offset from UTC.

    Raises
    ------
    ValueError
        If one of them cannot be stored; names the value.

    Examples
    --------
    >>> made = make_decision("b" * 64, "a" * 64, "cover", when="2026-01-31T13:00:00+01:00")
    >>> made.sha256_a[:2], made.when
    ('aa', '2026-01-31T12:00:00.000000Z')
    """
    hashes = sorted((sha256_a.strip().lower(), sha256_b.strip().lower()))
    for sha256 in hashes:
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256!r:.80} is not a SHA-256; 64 hex digits are needed")
    if kind not in (*DecisionKind, UNDO):
        raise ValueError(
            f"{kind!r:.40} is not a decision; it must be one of {', '.join(DecisionKind)}"
        )
    note, by = _clean(note), " ".join(_clean(by).split())
    for name, text, limit in (("note", note, MAX_NOTE), ("name", by, MAX_BY)):
        if len(text) > limit:
            raise ValueError(f"the {name} has {len(text):,} characters; {limit:,} are kept at most")
    return Decision(hashes[0], hashes[1], kind, note, _utc(when), by)


def _clean(text: str) -> str:
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in text if c in "\n\t" or not _is_hidden(c)).strip()


def _is_hidden(c: str) -> bool:
    turns = "\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069"
    return turns or c == "\ufeff" or unicodedata.category(c) == "Cc"


def _utc(when: str) -> str:
    try:
        moment = datetime.datetime.fromisoformat(when.strip())
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        moment = moment.astimezone(datetime.UTC)
        if not 1970 <= moment.year < 3000:
            raise ValueError("far from now")
    except (ValueError, OverflowError):
        raise ValueError(
            f"{when!r:.60} is not a time; write it like 2026-01-31T12:00:00Z"
        ) from None
    return show_moment(moment)


def show_moment(moment: datetime.datetime) -> str:
    """Return a moment in UTC as decisions bear it."""
    return moment.strftime(_WHEN)


def add_decision(
    connection: sqlite3.Connection, hashes: tuple[str, str], kind: str, *, note: str, by: str
) -> Decision:
    """Store a decision of now, or one microsecond after the newest of the pair if that is later.

    Raises
    ------
    ValueError
        As ``make_decision``.
    """
    now = show_moment(datetime.datetime.now(datetime.UTC))
    made = make_decision(*hashes, kind, note=note, when=now, by=by)
    newest = connection.execute(
        "SELECT max(decided_at) FROM decisions WHERE sha256_a = ? AND sha256_b = ?",
        (made.sha256_a, made.sha256_b),
    ).fetchone()[0]
    if newest is not None and newest >= made.when:
        later = datetime.datetime.fromisoformat(_utc(newest)) + _MICROSECOND
        made = make_decision(*hashes, kind, note=note, when=show_moment(later), by=by)
    insert_decisions(connection, (made,))
    return made


def insert_decisions(connection: sqlite3.Connection, decisions: Iterable[Decision]) -> int:
    """Store decisions as they are, and return how many were not stored already.

    Raises
    ------
    ValueError
        If one of them is not in the form that ``make_decision`` gives.
    """
    n_new = 0
    for decision in decisions:
        _expect_clean(decision)
        row = (
            decision.sha256_a,
            decision.sha256_b,
            str(decision.kind),
            decision.note,
            decision.when,
            decision.by,
        )
        n_new += connection.execute(
            f"INSERT OR IGNORE INTO decisions ({_COLUMNS}, crc) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*row, checksum(*row)),
        ).rowcount
    return n_new


def seal(connection: sqlite3.Connection) -> None:
    """Give their checksums to decisions that have none, from before there were any."""
    rows = connection.execute(f"SELECT {_COLUMNS}, id FROM decisions WHERE crc IS NULL").fetchall()
    connection.executemany(
        "UPDATE decisions SET crc = ? WHERE id = ?",
        [(checksum(*row[:-1]), row[-1]) for row in rows],
    )


def read_decisions(
    connection: sqlite3.Connection,
    hashes: tuple[str, str] | None = None,
    *,
    damaged: list[str] | None = None,
) -> list[Decision]:
    """Return decisions, oldest first; none of a catalogue from before there were any.

    Parameters
    ----------
    connection : sqlite3.Connection
    hashes : (str, str), optional
        Sorted SHA-256 of the one pair to read.
    damaged : list, optional
        Where given, damaged decisions are left out and what is wrong is put here.

    Raises
    ------
    CatalogueError
        If a row is damaged; names it.
    """
    if not _has_table(connection):
        return []
    crc = NO_CHECKSUM if version_of(connection) < SINCE_ALL else "crc"
    where = "WHERE sha256_a = ? AND sha256_b = ?" if hashes else ""
    made = []
    for row in connection.execute(
        f"SELECT {_COLUMNS}, id, {crc} FROM decisions {where} ORDER BY decided_at, id", hashes or ()
    ):
        try:
            made.append(_from_row(row))
        except CatalogueError as error:
            if damaged is None:
                raise
            damaged.append(str(error))
    return made


def decision_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield decisions that are damaged."""
    damaged: list[str] = []
    read_decisions(connection, damaged=damaged)
    yield from damaged


def _has_table(connection: sqlite3.Connection) -> bool:
    found = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'decisions'"
    )
    return found.fetchone() is not None


def _from_row(row: tuple[object, ...]) -> Decision:
    *values, number, crc = row
    try:
        if any(type(value) is not str for value in values):
            raise ValueError("a value that is not text")
        if crc not in (NO_CHECKSUM, checksum(*values)):
            raise ValueError("its checksum is another")
        decision = Decision(*values)  # type: ignore[arg-type]
        _expect_clean(decision)
    except ValueError as error:
        raise CatalogueError(
            f"decision {number} of the catalogue is damaged: {error}. "
            "Restore the catalogue from a copy. Without one, audit decide --export FILE keeps the "
            "others: move the catalogue away, run audit scan DIR, then audit decide --import FILE."
        ) from None
    return decision


def _expect_clean(decision: Decision) -> None:
    clean = make_decision(
        decision.sha256_a,
        decision.sha256_b,
        decision.kind,
        note=decision.note,
        when=decision.when,
        by=decision.by,
    )
    if clean != decision:
        raise ValueError(f"{decision!r:.200} is not in the form that is stored")
