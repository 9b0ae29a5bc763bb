"""Decisions as a CSV file: to keep, to hand to a colleague, to bring back from a report page.

One row per decision, oldest first, those taken back included; the columns are ``COLUMNS``, of
which a file to be read needs ``REQUIRED_COLUMNS``.  A file comes from strangers: its size is
bounded, every row is checked before any is stored, and an error names its line.

A text that a spreadsheet would take for a formula is led by an apostrophe (OWASP, "CSV injection"):
at its start, and after any sign inside it that separates cells in another country's spreadsheet.
So is one that such an apostrophe could be mistaken in; reading takes it off again, so that every
text comes back as it was.
"""

from __future__ import annotations

import csv
import datetime
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from auditor.catalogue.decisions import make_decision, show_moment
from auditor.decisions.apply import Hashes, pair_id
from auditor.errors import UsageError, show_path
from auditor.records import Decision
from auditor.serialisation import atomic_write

COLUMNS = ("pair_id", "kind", "note", "when", "by", "sha256_a", "sha256_b", "track_a", "track_b")
"""``pair_id``, ``track_a`` and ``track_b`` are for people, and not read."""

REQUIRED_COLUMNS = ("kind", "sha256_a", "sha256_b")
MAX_FILE_BYTES = 64 << 20
MAX_ROWS = 500_000

_FORMULA = r"[ '\"\u00a0\u200b\u3000\ufeff]*[=+\-@＝＋－＠]"
_LED = rf"(?:^(?=[ '\"\u00a0\u200b\u3000\ufeff]*[\t\r\n]|'')|(?:^|(?<=[;|\t\r\n]))(?={_FORMULA}))"
_LEAD = re.compile(_LED)
_LEADING = re.compile(_LED.replace("(?=", "'(?="))
_AHEAD = datetime.timedelta(days=1)


def to_csv(
    decisions: Iterable[Decision],
    names: Mapping[str, str] | None = None,
    orders: Mapping[Hashes, Hashes] | None = None,
) -> str:
    """Return decisions as CSV (RFC 4180).

    Parameters
    ----------
    decisions : iterable of Decision
    names : mapping of SHA-256 to str, optional
        What people call the tracks.
    orders : mapping of (str, str) to (str, str), optional
        For sorted hashes, which of them reports call A and which B (``decisions.report_orders``):
        a note may speak of them.  Sorted where unknown; reading takes either order.
    """
    names, orders = names or {}, orders or {}
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for made in decisions:
        hashes = made.sha256_a, made.sha256_b
        a, b = orders.get(hashes, hashes)
        cells = (pair_id(a, b), made.kind, made.note, made.when, made.by, a, b)
        tracks = (" ".join(names.get(sha256, "").split()) for sha256 in (a, b))
        writer.writerow([lead_formula(cell) for cell in (*cells, *tracks)])
    return lines.getvalue()


def lead_formula(text: str) -> str:
    """Return a text cell in which no spreadsheet finds a formula, wherever it separates cells.

    Examples
    --------
    >>> lead_formula("=1+1"), lead_formula("'tis"), lead_formula("'=x"), lead_formula("a;  =1")
    ("'=1+1", "'tis", "''=x", "a;'  =1")
    """
    return _LEAD.sub("'", text)


def _take_off(cell: str) -> str:
    return _LEADING.sub("", cell)


def read_csv(path: str | os.PathLike[str]) -> list[Decision]:
    """Read decisions, checking every one.

    Columns may stand in any order, separated by commas, semicolons or tabs; those that are not
    known are passed over.  A row without a time gets the present one.

    Raises
    ------
    UsageError
        If the file cannot be read, is too large, or a row is wrong; names the line.
    """
    shown = show_path(path)
    text = _read_text(path, shown)
    first_line = text.partition("\n")[0]
    separator = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    now = datetime.datetime.now(datetime.UTC)
    found: list[Decision] = []
    header: dict[str, int] | None = None
    n_columns = 0
    rows = _numbered(reader, shown)
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header, n_columns = _header(cells, shown), len(cells)
            continue
        if len(found) == MAX_ROWS:
            raise UsageError(f"{shown} has more than {MAX_ROWS:,} decisions. Split the file.")
        try:
            if len(cells) > n_columns and any(cells[n_columns:]):
                raise ValueError(f"{len(cells)} cells under a header of {n_columns}")
            found.append(_decision(cells, header, now))
        except ValueError as error:
            raise UsageError(
                f"{shown}, line {line}: {error}. Nothing was imported; fix the line and import "
                "the file again."
            ) from None
    if header is None:
        raise UsageError(
            f"{shown} is empty; a header with {', '.join(REQUIRED_COLUMNS)} is needed."
        )
    return found


def _read_text(path: str | os.PathLike[str], shown: str) -> str:
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # a pipe is refused, not waited for
    try:
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"{shown} is not a regular file. Give a CSV file.")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error.strerror}. Give a CSV file.") from None
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(
            f"{shown} is larger than {MAX_FILE_BYTES >> 20} MiB, the limit for a decision file. "
            "Split the file."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{shown}, line {line}: not UTF-8. Save the file as UTF-8 CSV.") from None


def _numbered(reader: Iterator[list[str]], shown: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line."""
    while True:
        line = reader.line_num + 1  # type: ignore[attr-defined]
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UsageError(f"{shown}, line {line}: {error}. Give a CSV file.") from None
        yield line, cells


def _header(cells: list[str], shown: str) -> dict[str, int]:
    names = [cell.strip().lower() for cell in cells]
    for name in REQUIRED_COLUMNS:
        if name not in names:
            raise UsageError(
                f"{shown}, line 1: the column {name} is missing; {', '.join(REQUIRED_COLUMNS)} are "
                "needed. Give a file that audit decide --export or a report wrote."
            )
    if twice := next((name for name in COLUMNS if names.count(name) > 1), ""):
        raise UsageError(f"{shown}, line 1: there are two columns {twice}. Leave one of them.")
    return {name: i for i, name in enumerate(names)}


def _decision(cells: list[str], header: Mapping[str, int], now: datetime.datetime) -> Decision:
    def cell(name: str) -> str:
        place = header.get(name, len(cells))
        return _take_off(cells[place]) if place < len(cells) else ""

    made = make_decision(
        cell("sha256_a"),
        cell("sha256_b"),
        cell("kind").strip().lower(),
        note=cell("note"),
        when=cell("when").strip() or show_moment(now),
        by=cell("by"),
    )
    if made.when > show_moment(now + _AHEAD):
        raise ValueError(f"its time, {made.when}, has not come yet")
    return made


def write_csv(text: str, path: str | os.PathLike[str]) -> None:
    """Write a file whole or not at all; one that was there stays when writing fails.

    Raises
    ------
    UsageError
        If it cannot be written.
    """
    path = Path(path)
    try:
        atomic_write(path, text.encode())
    except OSError as error:
        raise UsageError(
            f"{show_path(path)} cannot be written: {error.strerror or error}. Free some space or "
            "fix the permissions, or give another file."
        ) from None
