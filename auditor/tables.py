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

from auditor.evidence_words import best_range, verdict_sentence
from auditor.records import CheckResult, Pair, RecommendResult, Result, ScanResult, Track
from auditor.wording import (
    count_not_wholly_compared,
    count_set_aside,
    detection_line,
    error_line,
    false_alarm_rate,
    headline,
    is_set_aside,
    not_wholly_compared,
    pair_marks,
    pair_state,
    pairs_with_tracks,
    show_budget,
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
_EVIDENCE_FIELDS = (
    *("verdict", "far", "similarity", "witness_score", "n_ranges", "share_a", "share_b"),
    *("a_start_s", "a_end_s", "b_start_s", "b_end_s", "tempo", "pitch_semitones", "repetition"),
    *("correlation", "said"),
)
"""Last columns of the CSV: the verdict, and the best range in seconds; empty where unknown."""

_PAIR_FIELDS = (
    "flagged",
    "identical_file",
    "pair_id",
    "decision",
    "decision_note",
    "licences_differ",
)


def print_table(
    result: Result,
    console: Console,
    *,
    n_rows: int | None = N_ROWS_SHOWN,
    show_decided: bool = False,
) -> None:
    """Print a result for reading in a terminal of 80 columns or more.

    Parameters
    ----------
    result : ScanResult, CheckResult or RecommendResult
        What to print.
    console : rich.console.Console
        Where to.
    n_rows : int or None
        Rows of the table at most, None for all; what is left out is said.
    show_decided : bool
        Also list the pairs that were decided not to matter, apart from the others.

    Raises
    ------
    ResultError
        If a pair names a track that the result does not list.
    """
    if isinstance(result, RecommendResult):
        rows, aside = _recommend_rows(result), []
    else:
        rows, aside = _pair_rows(result), _pair_rows(result, set_aside=True)
    if isinstance(result, CheckResult):
        _print_verdicts(result, console, n_rows)
    _print_rows(result, rows, console, n_rows)
    if aside and show_decided:
        _print_line(console, "Decided, and not flagged any more:")
        _print_rows(result, aside, console, n_rows)
    for line in _last_lines(result):
        _print_line(console, line)
    if aside:
        how = "" if show_decided else "; --show-decided lists them"
        _print_line(console, f"{count_set_aside(result.pairs)}{how}")
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
    writer.writerow(("score", "threshold", *_PAIR_FIELDS, *fields, *_EVIDENCE_FIELDS))
    for pair, a, b in pairs_with_tracks(result):
        said = (getattr(pair, name) for name in _PAIR_FIELDS)
        of_tracks = (*_track_values(a), *_track_values(b))
        cells = (pair.score, result.threshold.threshold, *said, *of_tracks, *_evidence_values(pair))
        writer.writerow([_csv_cell(cell) for cell in cells])
    return lines.getvalue()


def _evidence_values(pair: Pair) -> tuple[object, ...]:
    evidence = pair.evidence
    said = verdict_sentence(pair)
    if evidence is None:
        return pair.verdict, pair.far, pair.similarity, *(None,) * 12, said
    whole = (evidence.score, len(evidence.ranges), evidence.share_a, evidence.share_b)
    best: tuple[object, ...] = (None,) * 8
    if evidence.ranges:
        first = evidence.ranges[0]
        best = (
            *(first.a_start_s, first.a_end_s, first.b_start_s, first.b_end_s),
            *(first.tempo, first.pitch_semitones, first.repetition, first.correlation),
        )
    return pair.verdict, pair.far, pair.similarity, *whole, *best, said


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


def _print_rows(
    result: Result, rows: list[tuple[Text, Text, Text]], console: Console, n_rows: int | None
) -> None:
    if not rows:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, expand=True)
    columns = {"scan": ("Track A", "Track B"), "check": ("Submission", "Catalogue track")}
    table.add_column("Score", justify="right", no_wrap=True)
    for name in columns.get(result.kind, ("Track", "Nearest to")):
        table.add_column(name, ratio=1, no_wrap=True, overflow="ellipsis")
    for cells in rows[:n_rows]:
        table.add_row(*cells)
    console.print(table)
    if n_rows is not None and len(rows) > n_rows:
        _print_line(console, f"… and {len(rows) - n_rows:,} more; the report lists them all.")
    console.print()


def _pair_rows(
    result: ScanResult | CheckResult, *, set_aside: bool = False
) -> list[tuple[Text, Text, Text]]:
    rows = []
    for pair, a, b in pairs_with_tracks(result):
        if is_set_aside(pair) != set_aside or _only_alike(result, pair):
            continue
        style = "" if pair.flagged else "dim"
        score = Text(show_score(pair.score), style=style or "bold")
        if pair.pair_id:
            score.append(f"\n{show_text(pair.pair_id)}", style="dim not bold")
        said = pair_marks(pair) + ((state,) if (state := pair_state(pair)) else ())
        cell_b = _track_cell(b, said + track_badges(b), style)
        cell_a = _track_cell(a, track_badges(a), style)
        if pair.verdict:
            cell_a.append(f"\n{pair.verdict}", style="bold" if pair.flagged else style)
        if heard := best_range(pair):
            cell_b.append(f"\n{heard}")
        if pair.decision_note:
            note = " / ".join(pair.decision_note.splitlines())
            cell_b.append(f"\n{show_text(note)}", style="italic")
        rows.append((score, cell_a, cell_b))
    return rows


def _only_alike(result: ScanResult | CheckResult, pair: Pair) -> bool:
    """Say whether a pair of a scan is shown in the report only; a check has one a submission."""
    return isinstance(result, ScanResult) and not pair.flagged and not pair.decision


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
    n_set_aside = dict(n_flagged)
    for pair in result.pairs:
        n_flagged[pair.a] = n_flagged.get(pair.a, 0) + pair.flagged
        n_set_aside[pair.a] = n_set_aside.get(pair.a, 0) + is_set_aside(pair)
    for track in result.submissions[:n_rows]:
        verdict = submission_verdict(track, n_flagged[track.id], n_set_aside[track.id])
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
    skipped = f", {show_count(len(result.skipped), 'file')} skipped" if result.skipped else ""
    use = result.threshold
    budget = f"; budget: {show_budget(use)}" if use.budget is not None else ""
    found = detection_line(result.detection)
    lines += [
        error_line(result),
        f"{show_search(result)}{skipped}{budget}",
        f"threshold: {use.source}; false alarm rate {false_alarm_rate(use)}",
        *([found] if found else []),
    ]
    n_alike = sum(_only_alike(result, pair) for pair in result.pairs)
    if n_alike:
        lines.append(f"{show_count(n_alike, 'pair')} not flagged; the report lists them")
    return [*lines, use.note] if use.note else lines
