"""Results in a notebook: data frames of pandas and polars, and a table that Jupyter shows.

The frames have the rows and columns of the CSV (``report.results_csv``) with their types, as
Parquet has.  Both libraries are optional (``pip install auditor[pandas]``, ``auditor[polars]``).
"""

from __future__ import annotations

import typing
from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from auditor.errors import UsageError, show_text
from auditor.records import RecommendResult, Result, TracklistResult, find_track, pairs_with_tracks
from auditor.report.results_csv import result_table
from auditor.report.results_parquet import column_type, plain_value
from auditor.report.text.error_rates import error_line
from auditor.report.text.general import headline, pair_state, show_count, show_duration, show_score

N_ROWS = 20
"""Rows that a notebook shows of a result."""


def to_pandas(result: Result) -> Any:
    """Return a result as a ``pandas.DataFrame``: one row per pair, or per recommended track.

    Text is as it was read.  Integers are ``Int64`` and truth values ``boolean``, which have a place
    for what is not known; lists stand in columns of objects.  The columns and their types do not
    depend on the rows.

    Raises
    ------
    UsageError
        If pandas is not installed.
    ResultError
        If a pair names a track that the result does not list.
    """
    try:
        import pandas as pd
    except ImportError:
        raise _missing("to_pandas", "pandas") from None
    kinds = {str: "object", bool: "boolean", int: "Int64", float: "float64"}
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype=kinds.get(column_type(name), "object"))
            for name, values in _columns(result)
        }
    )


def to_polars(result: Result) -> Any:
    """Return a result as a ``polars.DataFrame``: one row per pair, or per recommended track.

    Text is as it was read.  The columns and their types do not depend on the rows.

    Raises
    ------
    UsageError
        If polars is not installed.
    ResultError
        If a pair names a track that the result does not list.
    """
    try:
        import polars as pl
    except ImportError:
        raise _missing("to_polars", "polars") from None
    kinds = {str: pl.String, bool: pl.Boolean, int: pl.Int64, float: pl.Float64}

    def kind_of(name: str) -> Any:
        kind = column_type(name)
        items = typing.get_args(kind)
        return pl.List(kinds[items[0]]) if items else kinds[kind]

    columns = _columns(result)
    return pl.DataFrame(
        {name: pl.Series(name, values, dtype=kind_of(name)) for name, values in columns}
    )


def to_notebook(result: Result, *, n_rows: int = N_ROWS) -> str:
    """Return a result as a short HTML table, which is what Jupyter shows of it.

    Parameters
    ----------
    result : Result
    n_rows : int
        Rows at most; a line says how many more there are.

    Raises
    ------
    ResultError
        If a pair names a track that the result does not list.
    """
    heads, rows = _shown_rows(result)
    parts = [Markup("<p><strong>{}</strong></p>").format(show_text(headline(result)))]
    if not isinstance(result, RecommendResult):
        parts.append(Markup("<p>{}</p>").format(show_text(error_line(result))))
    if rows:
        lines = [_row("td", row) for row in rows[:n_rows]]
        head = _row("th", heads)
        body = Markup("").join(lines)
        parts.append(Markup("<table><thead>{}</thead><tbody>{}</tbody></table>").format(head, body))
    if len(rows) > n_rows:
        rest = show_count(len(rows) - n_rows, "more row")
        parts.append(Markup("<p>{}: to_pandas() or to_polars() has all of them.</p>").format(rest))
    return str(Markup("\n").join(parts))


def _columns(result: Result) -> list[tuple[str, list[Any]]]:
    names, rows = result_table(result)
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return [
        (name, [plain_value(value) for value in column])
        for name, column in zip(names, columns, strict=True)
    ]


def _missing(method: str, library: str) -> UsageError:
    return UsageError(
        f"{method} requires {library}, which is not installed. Run: pip install "
        f"'auditor[{library}]'"
    )


def _row(cell: str, values: Iterable[str]) -> Markup:
    cells = (Markup("<{0}>{1}</{0}>").format(Markup(cell), show_text(value)) for value in values)
    return Markup("<tr>{}</tr>").format(Markup("").join(cells))


def _shown_rows(result: Result) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    if isinstance(result, RecommendResult):
        return ("Rank", "Score", "Track", "Id"), [
            (str(rank), show_score(answer.score), answer.track.label, answer.track.id)
            for rank, answer in enumerate(result.recommendations, start=1)
        ]
    if isinstance(result, TracklistResult):
        tracks = {track.id: track for track in result.tracks}
        return ("From", "To", "Track", "Id"), [
            (
                show_duration(entry.start_s),
                show_duration(entry.end_s),
                find_track(tracks, entry.track).label,
                entry.track,
            )
            for entry in result.entries
        ]
    return ("Score", "Verdict", "Track A", "Track B", "Pair", "State"), [
        (
            show_score(pair.score),
            pair.verdict,
            a.label,
            b.label,
            pair.pair_id,
            pair_state(pair) or "flagged",
        )
        for pair, a, b in pairs_with_tracks(result)
    ]
