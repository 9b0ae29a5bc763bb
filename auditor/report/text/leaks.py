"""Leaks between the splits of a data set, in words and numbers for people."""

from __future__ import annotations

from collections import Counter

from auditor.errors import show_text
from auditor.records import LeakResult, Split, Verdict
from auditor.report.text.general import is_set_aside, show_count, show_duration


def count_leaks(result: LeakResult) -> int:
    """Return how many pairs and files leak: flagged pairs across splits, and files in several."""
    return sum(pair.flagged for pair in result.pairs) + len(result.listed_twice)


def leak_headline(result: LeakResult) -> str:
    """Return what was found, in one line.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> splits = (Split("train", "a", 900, 900, 1.0, 0, 0.0), Split("test", "b", 1, 1, 1.0, 0, 0.0))
    >>> leak_headline(SimpleNamespace(pairs=(), listed_twice={}, splits=splits))
    'No leak between train (900 files) and test (1 file)'
    """
    sides = [f"{split.name} ({show_count(split.n_tracks, 'file')})" for split in result.splits]
    between = f"between {', '.join(sides[:-1])} and {sides[-1]}"
    n_leaks = count_leaks(result)
    if n_leaks:
        return f"{show_count(n_leaks, 'leak')} {between}"
    if any(is_set_aside(pair) for pair in result.pairs):
        return f"No undecided leak {between}"
    return f"No leak {between}"


def leak_kinds(result: LeakResult) -> str:
    """Return how many leaks there are of each verdict, the strongest first; empty for none."""
    counts = Counter(pair.verdict for pair in result.pairs if pair.flagged)
    known = [
        (f"{counts[verdict]:,} {verdict.value}", counts[verdict])
        for verdict in Verdict
        if verdict in counts
    ]
    others = sum(n for verdict, n in counts.items() if verdict not in set(Verdict))
    known += [(f"{others:,} above the threshold", others)]
    known += [(f"{len(result.listed_twice):,} listed in several splits", len(result.listed_twice))]
    return ", ".join(text for text, n in known if n)


def split_rows(result: LeakResult) -> list[tuple[str, str, str, str, str]]:
    """Return name, source, files, files that leak and seconds that the first split holds."""
    rows = []
    for split in result.splits:
        first = split is result.splits[0]
        rows.append(
            (
                split.name,
                show_text(split.source),
                f"{split.n_tracks:,} ({show_duration(split.duration_s)})",
                "" if first else f"{split.n_leaked:,}",
                "" if first else held_share(split),
            )
        )
    return rows


def held_share(split: Split) -> str:
    """Return the share of a split that the first one holds.

    Examples
    --------
    >>> held_share(Split("test", "b", 10, 10, 1000.0, 1, 25.0))
    '2.5 % (0:25 of 16:40)'
    """
    share = split.held_s / split.duration_s if split.duration_s else 0.0
    percent = "below 0.1" if 0.0 < share < 0.001 else f"{100 * share:.2g}"
    if share > 0.995:
        percent = f"{100 * share:.4g}"
    return f"{percent} % ({show_duration(split.held_s)} of {show_duration(split.duration_s)})"


def leak_lines(result: LeakResult) -> list[str]:
    """Return what else is to be said of the splits, a line each."""
    first = result.splits[0].name
    lines = []
    if kinds := leak_kinds(result):
        lines.append(f"leaks by kind: {kinds}")
    lines += [
        f"{split.name}: {show_count(split.n_leaked, 'file')} of {split.n_tracks:,} "
        f"{'leaks' if split.n_leaked == 1 else 'leak'}; {first} holds {held_share(split)}"
        for split in result.splits[1:]
    ]
    n_groups = sum(group.leak for group in result.groups)
    if n_groups:
        lines.append(f"{show_count(n_groups, 'group')} of files on several sides")
    if result.duplicates:
        lines.append(
            f"{show_count(len(result.duplicates), 'pair')} of duplicates inside one split, which "
            "are no leaks"
        )
    if result.same_track:
        clips = show_count(len(result.same_track), "track")
        lines.append(
            f"{clips} with clips in several splits that share no sound (same artist, title and "
            "album), not counted as leaks"
        )
    return lines
