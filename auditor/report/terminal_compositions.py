"""The list of compositions in a terminal, apart from the table of recordings."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from auditor.errors import show_text
from auditor.records import CheckResult, CompositionMatch, ScanResult, Track
from auditor.report.terminal_table import print_rows
from auditor.report.text.compositions import (
    NOT_FLAGGED,
    ListedMatch,
    agreement_words,
    compositions_headline,
    listed_matches,
    rest_lines,
    show_tempo,
    show_transposition,
)
from auditor.report.text.general import (
    show_count,
    show_decider,
    show_duration,
    show_kind,
    show_number,
    show_score,
    track_facts,
)


def print_compositions(
    result: ScanResult | CheckResult,
    console: Console,
    *,
    n_rows: int | None,
    show_decided: bool = False,
    verbose: bool = False,
) -> None:
    """Print the list of compositions below the recordings; nothing where it was not asked for.

    Parameters
    ----------
    result : ScanResult or CheckResult
    console : rich.console.Console
    n_rows : int or None
        Lines at most, None for all.
    show_decided : bool
        Also list the lines that decisions set aside.
    verbose : bool
        Also list the lines that chance may explain, and those that share their chords only.

    Raises
    ------
    ResultError
        If a line names a track that the result does not list.
    """
    found = result.compositions
    if found is None:
        return
    listed = listed_matches(result)
    shown = ("flagged", *(("decided",) if show_decided else ()))
    shown += NOT_FLAGGED if verbose else ()
    rows = [line for line in listed if line.group in shown]
    console.print()
    _print_line(console, compositions_headline(found, listed))
    if rows:
        console.print()
        _print_rows(result, rows[:n_rows], console)
    if n_rows is not None and len(rows) > n_rows:
        n_left = show_count(len(rows) - n_rows, "more line")
        _print_line(console, f"… and {n_left}; the report lists them all.")
    for text in rest_lines(found, listed, shown=shown):
        _print_line(console, text)
    if not verbose and any(line.group in NOT_FLAGGED for line in listed):
        _print_line(console, "-v shows the lines that are not flagged")
    if verbose and found.source:
        _print_line(
            console,
            f"{found.n_compared:,} of {show_count(found.n_pairs, 'pair')} aligned; rate from "
            f"{found.source}",
        )
    if found.note:
        _print_line(console, found.note)


def shared_cell(match: CompositionMatch) -> Text:
    """Return what two tracks share as compositions, as one cell of a table."""
    cell = Text(show_text(match.verdict), style="bold" if match.flagged else "")
    cell.append(f"\n{agreement_words(match)}", style="not bold")
    cell.append(f"\n{_passages(match)}", style="not bold")
    cell.append(f"\n{_changes(match)}", style="not bold")
    if match.expected_by_chance is not None:
        many = show_number(match.expected_by_chance)
        cell.append(f"\nby chance to this line: {many}", style="not bold")
    return cell


def _passages(match: CompositionMatch) -> str:
    a, b = (
        f"{show_duration(start_s)}-{show_duration(end_s)}"
        for start_s, end_s in (
            (match.a_start_s, match.a_end_s),
            (match.b_start_s, match.b_end_s),
        )
    )
    return f"a {a} = b {b}"


def _changes(match: CompositionMatch) -> str:
    return f"{show_transposition(match.transposition)}, {show_tempo(match.tempo)}"


def _print_rows(
    result: ScanResult | CheckResult, rows: list[ListedMatch], console: Console
) -> None:
    names = ("Track A", "Track B")
    if isinstance(result, CheckResult):
        names = ("Submission", "Catalogue track")
    print_rows(("Line", *names), [_cells(line) for line in rows], console)
    console.print()


def _cells(line: ListedMatch) -> tuple[Text, Text, Text]:
    match = line.match
    style = "" if match.flagged else "dim"
    head = Text(f"{line.rank:,}", style=style or "bold")
    head.append(f"\n{show_score(match.score)}", style=style or "not bold")
    if match.pair_id:
        head.append(f"\n{show_text(match.pair_id)}", style="dim not bold")
    verdict = Text(f"\n{show_text(match.verdict)}", style="bold" if match.flagged else style)
    cell_a = _track(line.a, style).append_text(verdict)
    cell_a.append(f"\n{agreement_words(match)}")
    if match.expected_by_chance is not None:
        cell_a.append(f"\nby chance to this line: {show_number(match.expected_by_chance)}")
    cell_b = _track(line.b, style)
    cell_b.append(f"\n{_passages(match)}\n{_changes(match)}")
    if match.decision:
        note = show_text(" / ".join(match.decision_note.splitlines()))
        said = (show_kind(show_text(match.decision)), show_decider(match), note)
        cell_b.append(f"\n{', '.join(filter(None, said))}", style="italic")
    if match.licences_differ:
        cell_b.append("\nlicences differ", style="yellow")
    return head, cell_a, cell_b


def _track(track: Track, style: str) -> Text:
    cell = Text(show_text(track.label), style=style)
    cell.append("\n" + track_facts(track), style="dim")
    return cell


def _print_line(console: Console, line: str) -> None:
    console.print(Text(show_text(line)), highlight=False)
