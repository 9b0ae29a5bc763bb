"""Files of the same bytes: one track of each content is compared, and stands for all of them.

What is said of that track holds for the others, so a placeholder that lies in a library hundreds of
times is examined once, and a group of n files is one pair and not n (n - 1) / 2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping

from auditor.evidence.side import whole_evidence
from auditor.records import IdenticalFiles, Pair, Track
from auditor.scoring.base import RunContext, ScoredPair, Scorer

SameFiles = Mapping[str, tuple[str, ...]]
"""Sorted ids of each content that several files hold, by the first (``TrackTable.same_files``)."""


def identical_pairs(
    scorer: Scorer, same: SameFiles, tracks: Mapping[str, Track], run: RunContext
) -> list[Pair]:
    """Return one pair of each group: its first track, and the first one with other tags, if any.

    Tags of files of the same bytes differ where a catalogue of its own (FMA) gives them, and then
    the pair shows that they do.
    """
    pairs = []
    for first, copies in same.items():
        owner = _owner(tracks[first])
        other = next((b for b in copies[1:] if _owner(tracks[b]) != owner), copies[1])
        pairs.append(identical_pair(scorer, first, other, tracks, run))
    return pairs


def identical_pair(
    scorer: Scorer, a: str, b: str, tracks: Mapping[str, Track], run: RunContext
) -> Pair:
    """Return the pair of two files of the same bytes."""
    evidence = whole_evidence(tracks[a].duration_s)
    return scorer.judge(ScoredPair(a, b, 1.0, evidence, 1.0), tracks, run)


def _owner(track: Track) -> tuple[str, str, str]:
    return track.artist, track.album, track.licence


def with_n_files(pair: Pair, same: SameFiles) -> Pair:
    """Return a pair of a scan with how many files stand behind either track."""
    n_a = len(same.get(pair.a, (pair.a,)))
    n_b = n_a if pair.identical_file else len(same.get(pair.b, (pair.b,)))
    return dataclasses.replace(pair, n_files_a=n_a, n_files_b=n_b) if n_a + n_b > 2 else pair


def identical_files(
    same: SameFiles, tracks: Mapping[str, Track], wanted: Container[str] | None = None
) -> tuple[IdenticalFiles, ...]:
    """Return the groups as results hold them, the largest first.

    Parameters
    ----------
    same : SameFiles
    tracks : mapping of id to Track
    wanted : container of str, optional
        First tracks of the groups to return; all by default.
    """
    groups = [
        IdenticalFiles(tracks[first].sha256, copies)
        for first, copies in same.items()
        if wanted is None or first in wanted
    ]
    return tuple(sorted(groups, key=lambda group: (-len(group.tracks), group.tracks)))
