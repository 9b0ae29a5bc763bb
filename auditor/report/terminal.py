"""Results as a table in a terminal.

It shows tags that strangers wrote: as plain text with control characters escaped, never as markup.
"""

from __future__ import annotations

import os
from collections.abc import Container
from typing import TextIO

from rich.console import Console
from rich.text import Text

from auditor.errors import show_text
from auditor.records import (
    CheckResult,
    CompareResult,
    GeneratedResult,
    LeakResult,
    Pair,
    Recommended,
    RecommendResult,
    Result,
    ScanResult,
    Track,
    TracklistResult,
    pairs_with_tracks,
)
from auditor.report.results_csv import to_csv as to_csv
from auditor.report.terminal_compositions import print_compositions, shared_cell
from auditor.report.terminal_table import PIPE_WIDTH, print_rows
from auditor.report.text.error_rates import (
    detection_line,
    error_line,
    false_alarm_rate,
    lowest_note,
    own_thresholds,
    show_budget,
)
from auditor.report.text.evidence import best_range
from auditor.report.text.general import (
    compared_with_nothing,
    count_not_wholly_compared,
    count_set_aside,
    headline,
    identical_line,
    is_set_aside,
    n_files_badge,
    new_pairs,
    not_wholly_compared,
    pair_marks,
    pair_state,
    repeated_labels,
    show_count,
    show_decider,
    show_score,
    show_search,
    since_line,
    submission_verdict,
    track_badges,
    track_facts,
)
from auditor.report.text.generated import generated_lines, power_lines
from auditor.report.text.identifiers import DIFFERING, SHARED, differing_rows, shared_rows
from auditor.report.text.leaks import leak_lines
from auditor.report.text.timeline import timeline_lines

N_ROWS_SHOWN = 100
"""Rows that ``print_table`` shows unless told otherwise; the report and the CSV hold them all."""

N_PATHS_SHOWN = 10
"""Tracks not fully compared that ``print_table`` names, unless it is to show every row."""


def print_table(
    result: Result,
    console: Console,
    *,
    n_rows: int | None = N_ROWS_SHOWN,
    show_decided: bool = False,
    verbose: bool = False,
) -> None:
    """Print a result for reading in a terminal of 80 columns or more, or for a pipe.

    Nothing is cut: in a terminal, what is too long for a column goes on in the next line.  A
    console of ``PIPE_WIDTH`` columns wraps nothing.

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
    verbose : bool
        Also say how the threshold was chosen, and what it finds.

    Raises
    ------
    ResultError
        If a pair names a track that the result does not list.
    """
    if isinstance(result, RecommendResult):
        rows, aside = _recommend_rows(result), []
    else:
        rows, aside = _pair_rows(result), _pair_rows(result, set_aside=True)
    _print_line(console, headline(result))
    if since := since_line(result):
        _print_line(console, since)
    if not verbose and not isinstance(result, RecommendResult):
        _print_line(console, "-v shows how the threshold was chosen")
    console.print()
    if isinstance(result, TracklistResult):
        for line in timeline_lines(result):
            console.print(Text(line), soft_wrap=True, highlight=False)
        console.print()
        rows = []
    elif isinstance(result, CheckResult):
        _print_verdicts(result, console, n_rows)
    _print_rows(result, rows, console, n_rows)
    if aside and show_decided:
        _print_line(console, "Set aside by decisions:")
        _print_rows(result, aside, console, n_rows)
    for line in _last_lines(result, verbose=verbose):
        _print_line(console, line)
    if aside and not isinstance(result, RecommendResult):
        how = "" if show_decided else "; --show-decided lists them"
        _print_line(console, f"{count_set_aside(result.pairs)}{how}")
    if not isinstance(result, RecommendResult):
        _print_gaps(result, console, None if n_rows is None else N_PATHS_SHOWN)
        _print_identifiers(result, console, None if n_rows is None else N_PATHS_SHOWN)
        print_compositions(
            result, console, n_rows=n_rows, show_decided=show_decided, verbose=verbose
        )


def console_for(file: TextIO) -> Console:
    """Return a console that wraps lines where a terminal does, and nowhere in a pipe or a file.

    The environment variable COLUMNS sets another width.
    """
    console = Console(file=file)
    if console.is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return console
    return Console(file=file, width=PIPE_WIDTH)


def _track_cell(
    track: Track, badges: tuple[str, ...], style: str = "", *, repeated: Container[str] = ()
) -> Text:
    cell = Text(show_text(track.label), style=style)
    cell.append("\n" + track_facts(track), style="dim")
    if track.label in repeated:
        cell.append("\n" + show_text(track.path), style="dim")
    if badges:
        cell.append("\n" + ", ".join(badges), style="yellow")
    return cell


def _print_rows(
    result: Result, rows: list[tuple[Text, Text, Text]], console: Console, n_rows: int | None
) -> None:
    if not rows:
        return
    columns = {
        "check": ("Submission", "Catalogue track"),
        "recommend": ("Track", "Nearest to"),
        "generated": ("Output", "Training track"),
    }
    if isinstance(result, RecommendResult) and result.compositions is not None:
        columns["recommend"] = ("Track", "What is shared")
    print_rows(("Score", *columns.get(result.kind, ("Track A", "Track B"))), rows[:n_rows], console)
    if n_rows is not None and len(rows) > n_rows:
        _print_line(console, f"… and {len(rows) - n_rows:,} more; the report lists them all.")
    console.print()


def _pair_rows(
    result: ScanResult | CheckResult, *, set_aside: bool = False
) -> list[tuple[Text, Text, Text]]:
    rows = []
    listed = pairs_with_tracks(result)
    if new := new_pairs(result):
        listed.sort(key=lambda row: row[0].pair_id not in new)  # which come first
    repeated = repeated_labels(track for _, *tracks in listed for track in tracks)
    for pair, a, b in listed:
        if is_set_aside(pair) != set_aside or _only_alike(result, pair):
            continue
        style = "" if pair.flagged else "dim"
        score = Text(show_score(pair.score), style=style or "bold")
        if pair.pair_id:
            score.append(f"\n{show_text(pair.pair_id)}", style="dim not bold")
        marks = pair_marks(pair) + (("new",) if pair.flagged and pair.pair_id in new else ())
        said = marks + ((state,) if (state := pair_state(pair)) else ())
        of_a, of_b = (n_files_badge(pair, n) for n in (pair.n_files_a, pair.n_files_b))
        cell_b = _track_cell(b, said + track_badges(b) + of_b, style, repeated=repeated)
        cell_a = _track_cell(a, track_badges(a) + of_a, style, repeated=repeated)
        if pair.verdict:
            cell_a.append(f"\n{pair.verdict}", style="bold" if pair.flagged else style)
        if heard := best_range(pair):
            cell_b.append(f"\n{heard}")
        reasons = (show_decider(pair), show_text(" / ".join(pair.decision_note.splitlines())))
        for reason in filter(None, reasons):
            cell_b.append(f"\n{reason}", style="italic")
        rows.append((score, cell_a, cell_b))
    return rows


def _only_alike(result: ScanResult | CheckResult, pair: Pair) -> bool:
    """Say whether a pair of a scan is shown in the report only; a check has one a submission."""
    return isinstance(result, ScanResult) and not pair.flagged and not pair.decision


def _recommend_rows(result: RecommendResult) -> list[tuple[Text, Text, Text]]:
    lines = result.compositions.matches if result.compositions is not None else ()
    shared = {match.b: shared_cell(match) for match in lines}
    repeated = repeated_labels(answer.track for answer in result.recommendations)
    return [
        (
            Text(show_score(answer.score), style="bold"),
            _track_cell(
                answer.track,
                (*track_badges(answer.track), *_same_files(answer)),
                repeated=repeated,
            ),
            shared.get(answer.track.id, Text(show_text(answer.nearest_to))),
        )
        for answer in result.recommendations
    ]


def _same_files(answer: Recommended) -> tuple[str, ...]:
    """Return how many files hold the same bytes, where there are several."""
    return (show_count(len(answer.same) + 1, "identical file"),) if answer.same else ()


def _print_verdicts(result: CheckResult, console: Console, n_rows: int | None) -> None:
    n_flagged = dict.fromkeys((track.id for track in result.submissions), 0)
    n_set_aside = dict(n_flagged)
    for pair in result.pairs:
        n_flagged[pair.a] = n_flagged.get(pair.a, 0) + pair.flagged * pair.n_files_b
        n_set_aside[pair.a] = n_set_aside.get(pair.a, 0) + is_set_aside(pair)
    own, alone = own_thresholds(result), compared_with_nothing(result)
    for track in result.submissions[:n_rows]:
        verdict = submission_verdict(
            track,
            n_flagged[track.id],
            n_set_aside[track.id],
            threshold=own.get(track.id, ""),
            alone=track.id in alone,
        )
        line = Text(show_text(track.label), style="bold" if n_flagged[track.id] else "")
        line.append(f": {verdict}", style="")
        console.print(line, soft_wrap=True, highlight=False)
    if n_rows is not None and len(result.submissions) > n_rows:
        n_left = len(result.submissions) - n_rows
        _print_line(console, f"… and {show_count(n_left, 'more submission')}.")
    console.print()


def _print_gaps(result: ScanResult | CheckResult, console: Console, n_paths: int | None) -> None:
    is_check = isinstance(result, CheckResult)
    examined = result.submissions if isinstance(result, CheckResult) else result.tracks
    tracks = not_wholly_compared(examined)
    if not tracks:
        return
    _print_line(console, count_not_wholly_compared(tracks, "submission" if is_check else "track"))
    for track in tracks[:n_paths]:
        said = f"  {show_text(track.path)}: {', '.join(track_badges(track))}"
        console.print(Text(said), soft_wrap=True, highlight=False)
    if n_paths is not None and len(tracks) > n_paths:
        _print_line(console, f"… and {len(tracks) - n_paths:,} more, see the report.")


def _print_identifiers(
    result: ScanResult | CheckResult, console: Console, n_lines: int | None
) -> None:
    """Say where the identifiers of tags and the sound disagree."""
    shared = [f"{name}: {' | '.join(groups)}" for name, groups in shared_rows(result)]
    differing = [
        f"{pair_id}: {a}: {ids_a} | {b}: {ids_b}"
        for pair_id, (a, ids_a), (b, ids_b) in differing_rows(result)
    ]
    for title, lines in ((SHARED, shared), (DIFFERING, differing)):
        if lines:
            _print_line(console, f"{title}: {len(lines):,}")
        for line in lines[:n_lines]:
            console.print(Text(f"  {line}"), soft_wrap=True, highlight=False)
        if n_lines is not None and len(lines) > n_lines:
            _print_line(console, f"… and {len(lines) - n_lines:,} more, see the report.")


def _print_line(console: Console, line: str) -> None:
    console.print(Text(show_text(line)), highlight=False)


def _detection_line(result: ScanResult | CheckResult) -> str:
    return detection_line(
        result.detection, result.detection_s if isinstance(result, CheckResult) else None
    )


def _last_lines(result: Result, *, verbose: bool) -> list[str]:
    if isinstance(result, RecommendResult):
        return list(result.notes)
    use = result.threshold
    lines = [error_line(result)]
    if verbose:
        budget = f"; budget: {show_budget(use)}" if use.budget is not None else ""
        lines += [
            f"{show_search(result)}{budget}",
            f"threshold from {use.source}; false alarm rate {false_alarm_rate(use)}",
            *filter(None, (_detection_line(result), lowest_note(use))),
        ]
    if isinstance(result, ScanResult):
        lines += filter(None, (identical_line(result),))
    if result.skipped:
        lines.append(f"{show_count(len(result.skipped), 'file')} skipped")
    n_alike = sum(_only_alike(result, pair) for pair in result.pairs)
    if n_alike:
        lines.append(f"{show_count(n_alike, 'pair')} not flagged; the report lists them")
    if use.note:
        lines.append(use.note)
    if isinstance(result, LeakResult):
        lines = [*leak_lines(result), *lines]
    if isinstance(result, GeneratedResult):
        lines = [*generated_lines(result), *power_lines(result), *lines]
    if isinstance(result, CompareResult):
        lines += result.notes
    return lines
