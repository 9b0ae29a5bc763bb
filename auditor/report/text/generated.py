"""What the outputs of a model repeat of its training music, in words and numbers for people."""

from __future__ import annotations

from auditor.errors import show_text
from auditor.records import Excess, GeneratedResult, Repeat, RepeatedTrack
from auditor.report.text.general import (
    is_set_aside,
    show_count,
    show_duration,
    show_number,
)

_SIDES = {"training": "training", "heldout": "held-out"}


def generated_headline(result: GeneratedResult) -> str:
    """Return what was found, in one line.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> side = SimpleNamespace(n_tracks=900)
    >>> none = SimpleNamespace(pairs=(), outputs=(1, 2), collections=(side, side, side))
    >>> generated_headline(none)
    'No output of 2 repeats the training music (900 tracks)'
    """
    n_outputs = len(result.outputs)
    music = f"the training music ({show_count(result.collections[1].n_tracks, 'track')})"
    ids = {pair.a for pair in result.pairs if pair.flagged}
    n = len(ids)
    if n:
        verb = "repeats" if n == 1 else "repeat"
        return f"{n:,} of {show_count(n_outputs, 'output')} {verb} {music}"
    undecided = " undecided" if any(is_set_aside(pair) for pair in result.pairs) else ""
    return f"No{undecided} output of {n_outputs:,} repeats {music}"


def duplicates_line(result: GeneratedResult) -> str:
    """Return how many of the repeated tracks training holds more than once; empty for none."""
    n_twice = sum(bool(track.copies) for track in result.repeated)
    if not n_twice:
        return ""
    n = len(result.repeated)
    subject = "the repeated track" if n == 1 else f"{n_twice:,} of the {n:,} repeated tracks"
    return f"training holds {subject} more than once, and duplicates are what models memorise"


def excess_rows(result: GeneratedResult) -> list[tuple[str, str, str, str, str]]:
    """Return limit, outputs in training, in held-out music, excess per 1,000 and interval."""
    per = 1000.0 / max(1, _n_contents(result))
    rows = []
    for one in sorted(result.excess, key=lambda e: (e.what != "recording", e.min_s)):
        limit = f"{one.min_s:g} s or more" if one.min_s else "any length"
        if one.what != "recording":
            limit = f"{one.what}, {limit}"
        rows.append(
            (
                limit,
                _of_side(one.n_training, one.training),
                _of_side(one.n_heldout, one.heldout),
                _signed(per * one.excess),
                f"{_signed(per * one.low)} to {_signed(per * one.high)}",
            )
        )
    return rows


def _n_contents(result: GeneratedResult) -> int:
    return result.collections[0].n_contents if result.collections else len(result.outputs)


def _of_side(n: int, sampled: float) -> str:
    """Return a count, and the mean of samples where it differs.

    Examples
    --------
    >>> _of_side(7, 7.0), _of_side(7, 1.75)
    ('7', '7 (1.8 in a sample)')
    """
    return f"{n:,}" if abs(sampled - n) < 1e-9 else f"{n:,} ({show_number(sampled)} in a sample)"


def _signed(value: float) -> str:
    return f"{value + 0.0:,.1f}".replace("-", "−")


def power_rows(result: GeneratedResult) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return the shares as headings, and for each alteration what of it was found.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from auditor.records import Replication
    >>> one = Replication("pasted", 0.05, 1.5, 8, 6, 0.41, 0.93)
    >>> power_rows(SimpleNamespace(replications=(one,)))
    (['5 % (1.5 s)'], [('pasted', ['6 of 8'])])
    """
    shares = sorted({one.share for one in result.replications})
    names = list(dict.fromkeys(one.alteration for one in result.replications))
    cell = {(one.alteration, one.share): one for one in result.replications}
    headings = []
    for share in shares:
        lengths = [one.mean_s for one in result.replications if one.share == share]
        headings.append(f"{100 * share:g} % ({sum(lengths) / len(lengths):.2g} s)")
    rows = []
    for name in names:
        cells = [cell.get((name, share)) for share in shares]
        rows.append((name, [f"{one.n_found} of {one.n}" if one else "" for one in cells]))
    return headings, rows


def power_lines(result: GeneratedResult) -> list[str]:
    """Return the table of what would have been found, a line each; empty where not measured."""
    headings, rows = power_rows(result)
    if not rows:
        return []
    width = max(len(name) for name, _ in rows)
    columns = [max(len(h), *(len(cells[i]) for _, cells in rows)) for i, h in enumerate(headings)]
    title = "passages of training music put into outputs, and found again:"
    first = " " * width + "".join(f"  {h:>{columns[i]}}" for i, h in enumerate(headings))
    lines = [
        f"{name:<{width}}" + "".join(f"  {cell:>{columns[i]}}" for i, cell in enumerate(cells))
        for name, cells in rows
    ]
    return [title, first, *lines]


def generated_lines(result: GeneratedResult) -> list[str]:
    """Return what is to be said of a model's outputs, a line each."""
    lines = [result.statement]
    if twice := duplicates_line(result):
        lines.append(twice)
    excess = result.excess[0] if result.excess else None
    if excess is not None:
        lines.append(per_thousand_line(result, excess))
    n_passages = sum(one.side == "training" for one in result.repeats)
    if n_passages:
        seconds = sum(one.training_s for one in result.outputs)
        all_s = result.collections[0].duration_s
        lines.append(
            f"{show_count(n_passages, 'passage')} of training music, {show_duration(seconds)} of "
            f"{show_duration(all_s)}"
        )
    return lines


def per_thousand_line(result: GeneratedResult, excess: Excess) -> str:
    """Return matches per 1,000 outputs on both sides, and the difference."""
    per = 1000.0 / max(1, _n_contents(result))
    return (
        f"per 1,000 outputs: {per * excess.training:.1f} match the training music, "
        f"{per * excess.heldout:.1f} as much held-out music; excess {_signed(per * excess.excess)} "
        f"(95 %: {_signed(per * excess.low)} to {_signed(per * excess.high)})"
    )


def repeat_changes(one: Repeat) -> str:
    """Return how tempo and pitch of a passage differ from the track; empty if they do not.

    Examples
    --------
    >>> one = Repeat("o", "t", "training", 0.0, 9.0, 3.0, 12.0, 1.05, -1.0, 0.9, True)
    >>> repeat_changes(one)
    'tempo +5.0 %, pitch −1.0'
    """
    said = []
    if abs(one.tempo - 1.0) >= 0.005:
        said.append(f"tempo {100 * (one.tempo - 1.0):+.1f} %")
    if one.pitch_semitones is not None and abs(one.pitch_semitones) >= 0.1:
        said.append(f"pitch {one.pitch_semitones:+.1f}")
    return ", ".join(said).replace("-", "−")


def excluded_words(track: RepeatedTrack) -> str:
    """Return why a repeated track does not count; empty if it does."""
    words = {
        "artist": "does not count: its artist is on both sides",
        "recording": "does not count: the recording is on both sides",
    }
    return words.get(track.excluded, show_text(track.excluded))


def side_rows(result: GeneratedResult) -> list[tuple[str, str, str, str, str, str]]:
    """Return name, collection, files, counted tracks, excluded ones and the share of a sample."""
    names = ("outputs", "training", "held-out")
    rows = []
    for name, collection in zip(names, result.collections, strict=False):
        side = next((s for s in result.sides if _SIDES.get(s.name) == name), None)
        counted = excluded = sampled = ""
        if side is not None:
            counted = f"{side.n_contents:,} ({show_duration(side.duration_s)})"
            excluded = f"{side.n_same_artist:,} artist, {side.n_same_recording:,} recording"
            sampled = "all" if side.sampled >= 1.0 else f"{100 * side.sampled:.2g} %"
        files = f"{collection.n_tracks:,} ({show_duration(collection.duration_s)})"
        rows.append((name, show_text(collection.name), files, counted, excluded, sampled))
    return rows
