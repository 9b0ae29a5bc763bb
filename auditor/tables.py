"""Results as a terminal table and as CSV.

Both show tags that strangers wrote.  In the terminal they are plain text with control characters
escaped, never rich markup.  In CSV a text cell that a spreadsheet would take for a formula is led
by an apostrophe (OWASP, "CSV injection").
"""

from __future__ import annotations

import csv
import dataclasses
import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

from auditor.records import CheckResult, RecommendResult, Result, ScanResult, Track
from auditor.wording import (
    count_not_wholly_compared,
    false_alarm_rate,
    false_pairs,
    headline,
    not_wholly_compared,
    pairs_with_tracks,
    show_count,
    show_score,
    show_search,
    show_text,
    submission_verdict,
    track_badges,
    track_facts,
)

N_ROWS_SHOWN = 100
"""Rows that ``print_table`` shows unless told otherwise; the report and the CSV hold them all."""

N_PATHS_SHOWN = 10
"""Tracks not wholly compared that ``print_table`` names, unless it is to show every row."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_TRACK_FIELDS = tuple(field.name for field in dataclasses.fields(Track))


def print_table(result: Result, console: Console, *, n_rows: int | None = N_ROWS_SHOWN) -> None:
    """Print a result for reading in a terminal of 80 columns or more.

    Parameters
    ----------
    result : ScanResult, CheckResult or RecommendResult
        What to print.
    console : rich.console.Console
        Where to.
    n_rows : int or None
        Rows of the table at most, None for all; what is left out is said.

    Raises
    ------
    ResultError
        If a pair names a track that the result does not list.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, expand=True)
    rows = _recommend_rows(result) if isinstance(result, RecommendResult) else _pair_rows(result)
    columns = {"scan": ("Track A", "Track B"), "check": ("Submission", "Catalogue track")}
    table.add_column("Score", justify="right", no_wrap=True)
    for name in columns.get(result.kind, ("Track", "Nearest to")):
        table.add_column(name, ratio=1, no_wrap=True, overflow="ellipsis")
    for cells in rows[:n_rows]:
        table.add_row(*cells)
    if isinstance(result, CheckResult):
        _print_verdicts(result, console, n_rows)
    if rows:
        console.print(table)
        if n_rows is not None and len(rows) > n_rows:
            _print_line(console, f"… and {len(rows) - n_rows:,} more; the report lists them all.")
        console.print()
    for line in _last_lines(result):
        _print_line(console, line)
    if not isinstance(result, RecommendResult):
        _print_gaps(result, console, None if n_rows is None else N_PATHS_SHOWN)


def to_csv(result: Result) -> str:
    """Return a result as CSV (RFC 4180): one row per pair, or per recommended track.

    Text cells that begin with ``=``, ``+``, ``-``, ``@``, a tab or a line break get a leading
    apostrophe; numbers are left alone.  Genres are joined by `` / ``.

    Raises
    ------
    ResultError
        If a pair names a track that the result does not list.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\r\n")
    if isinstance(result, RecommendResult):
        writer.writerow(("rank", "score", "nearest_to", *_TRACK_FIELDS))
        for rank, answer in enumerate(result.recommendations, start=1):
            cells = (rank, answer.score, answer.nearest_to, *_track_values(answer.track))
            writer.writerow([_csv_cell(cell) for cell in cells])
        return lines.getvalue()
    fields = [f"{side}_{name}" for side in "ab" for name in _TRACK_FIELDS]
    writer.writerow(("score", "threshold", "flagged", "identical_file", *fields))
    for pair, a, b in pairs_with_tracks(result):
        said = (pair.score, result.threshold.threshold, pair.flagged, pair.identical_file)
        cells = (*said, *_track_values(a), *_track_values(b))
        writer.writerow([_csv_cell(cell) for cell in cells])
    return lines.getvalue()


def _track_values(track: Track) -> tuple[object, ...]:
    return tuple(getattr(track, name) for name in _TRACK_FIELDS)


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = " / ".join(value) if isinstance(value, tuple) else str(value)
    text = text.encode("utf-8", "backslashreplace").decode()  # lone surrogates cannot be written
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _track_cell(track: Track, badges: tuple[str, ...], style: str = "") -> Text:
    cell = Text(show_text(track.label), style=style)
    cell.append("\n" + track_facts(track), style="dim")
    if badges:
        cell.append("\n" + ", ".join(badges), style="yellow")
    return cell


def _pair_rows(result: ScanResult | CheckResult) -> list[tuple[Text, Text, Text]]:
    rows = []
    for pair, a, b in pairs_with_tracks(result):
        said = ("identical file",) if pair.identical_file else ()
        said += () if pair.flagged else ("below the threshold",)
        style = "" if pair.flagged else "dim"
        score = Text(show_score(pair.score), style=style or "bold")
        cell_b = _track_cell(b, said + track_badges(b), style)
        rows.append((score, _track_cell(a, track_badges(a), style), cell_b))
    return rows


def _recommend_rows(result: RecommendResult) -> list[tuple[Text, Text, Text]]:
    return [
        (
            Text(show_score(answer.score), style="bold"),
            _track_cell(answer.track, track_badges(answer.track)),
            Text(show_text(answer.nearest_to)),
        )
        for answer in result.recommendations
    ]


def _print_verdicts(result: CheckResult, console: Console, n_rows: int | None) -> None:
    n_flagged = dict.fromkeys((track.id for track in result.submissions), 0)
    for pair in result.pairs:
        n_flagged[pair.a] = n_flagged.get(pair.a, 0) + pair.flagged
    for track in result.submissions[:n_rows]:
        verdict = submission_verdict(track, n_flagged[track.id])
        line = Text(show_text(track.label), style="bold" if n_flagged[track.id] else "")
        line.append(f": {verdict}", style="")
        console.print(line, soft_wrap=True, highlight=False)
    if n_rows is not None and len(result.submissions) > n_rows:
        n_left = len(result.submissions) - n_rows
        _print_line(console, f"… and {show_count(n_left, 'more submission')}.")
    console.print()


def _print_gaps(result: ScanResult | CheckResult, console: Console, n_paths: int | None) -> None:
    is_check = isinstance(result, CheckResult)
    tracks = not_wholly_compared(result.submissions if is_check else result.tracks)
    if not tracks:
        return
    _print_line(console, count_not_wholly_compared(tracks, "submission" if is_check else "track"))
    for track in tracks[:n_paths]:
        said = f"  {show_text(track.path)}: {', '.join(track_badges(track))}"
        console.print(Text(said), soft_wrap=True, highlight=False)
    if n_paths is not None and len(tracks) > n_paths:
        _print_line(console, f"… and {len(tracks) - n_paths:,} more, see the report.")


def _print_line(console: Console, line: str) -> None:
    console.print(Text(show_text(line)), highlight=False)


def _last_lines(result: Result) -> list[str]:
    lines = [headline(result)]
    if isinstance(result, RecommendResult):
        return [*lines, *result.notes]
    compared = f"{show_count(result.n_pairs_compared, 'pair')} compared, {show_search(result)}"
    skipped = f", {show_count(len(result.skipped), 'file')} skipped" if result.skipped else ""
    use = result.threshold
    rate = f"false alarm rate {false_alarm_rate(use)}"
    lines += [
        f"{compared}{skipped}",
        f"threshold {show_score(use.threshold)}, {use.source}; {rate}",
        f"expected false pairs: {false_pairs(use, result.n_pairs_compared)}",
    ]
    return [*lines, use.note] if use.note else lines
