"""What to do about leaks: files to remove, or a split in which no group is on two sides.

Both are lists of files, sorted, and the same for the same result; nothing is moved or deleted.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from auditor.decisions.csv_file import lead_formula
from auditor.records import LeakResult, Pair, find_track


class DropSide(StrEnum):
    """Whose files a removal list names."""

    TEST = "test"
    TRAIN = "train"
    SMALLER = "smaller"


@dataclass(frozen=True)
class RemovedFile:
    """A file to remove.

    Attributes
    ----------
    path, id, sha256, split : str
        Of the file.
    because_of, kept_split : str
        Path and split of the file that it matches best and that stays.
    verdict : str
        What the two are.
    score : float
    """

    path: str
    id: str
    sha256: str
    split: str
    because_of: str
    kept_split: str
    verdict: str
    score: float


@dataclass(frozen=True)
class PlacedFile:
    """A file and its place in a grouped split.

    Attributes
    ----------
    path, id, sha256 : str
    split : str
        Where all of its group is.
    split_before : str
    group : int
        From 1; 0 for a file that matches no other.
    """

    path: str
    id: str
    sha256: str
    split: str
    split_before: str
    group: int


def files_to_remove(result: LeakResult, side: DropSide) -> list[RemovedFile]:
    """Return the files without which no flagged pair goes across splits.

    Parameters
    ----------
    result : LeakResult
    side : DropSide
        ``test``: of each pair the file of the later split (validation and test).  ``train``: that
        of the earlier one.  ``smaller``: of each group, all but the split with the most seconds of
        matching files; of equal ones the earlier split stays.

    Returns
    -------
    list of RemovedFile
        By split, then by path.
    """
    order = {split.name: i for i, split in enumerate(result.splits)}
    tracks = {track.id: track for track in result.tracks}
    copies = _copies(result)
    leaks = [pair for pair in result.pairs if pair.flagged]
    removed: dict[tuple[str, str], Pair | None] = {}

    def remove(track_id: str, pair: Pair) -> None:
        for copy in copies[track_id]:
            if result.split_of[copy] == result.split_of[track_id]:
                removed.setdefault((copy, result.split_of[copy]), pair)

    if side is DropSide.SMALLER:
        kept = _largest_split(result, leaks)
        for pair in leaks:
            for track_id in (pair.a, pair.b):
                if result.split_of[track_id] != kept[track_id]:
                    remove(track_id, pair)
    else:
        for pair in leaks:
            remove(pair.b if side is DropSide.TEST else pair.a, pair)
    for track_id, splits in result.listed_twice.items():
        left = splits[1:] if side is not DropSide.TRAIN else splits[:-1]
        for split in left:
            removed.setdefault((track_id, split), None)
    files = []
    for (track_id, split), why in removed.items():
        track = find_track(tracks, track_id)
        if why is None:
            other = next(s for s in result.listed_twice[track_id] if s != split)
            files.append(
                RemovedFile(
                    *(track.path, track_id, track.sha256, split, track.path, other),
                    *("listed in both", 1.0),
                )
            )
            continue
        stays = why.a if result.split_of[why.a] != split else why.b
        partner = find_track(tracks, stays)
        files.append(
            RemovedFile(
                *(track.path, track_id, track.sha256, split),
                *(partner.path, result.split_of[partner.id], why.verdict, why.score),
            )
        )
    return sorted(files, key=lambda file: (order[file.split], file.path, file.id))


def _copies(result: LeakResult) -> dict[str, tuple[str, ...]]:
    """Return the files of the same bytes as each listed track, itself among them."""
    copies: dict[str, tuple[str, ...]] = {track.id: (track.id,) for track in result.tracks}
    for group in result.identical:
        copies |= dict.fromkeys(group.tracks, group.tracks)
    return copies


def _largest_split(result: LeakResult, leaks: Sequence[Pair]) -> dict[str, str]:
    """Return for each track of a leak the split of its group that stays."""
    seconds: dict[int, Counter[str]] = defaultdict(Counter)
    group_of = {i: number for number, group in enumerate(result.groups) for i in group.tracks}
    tracks = {track.id: track for track in result.tracks}
    for track_id in sorted({i for pair in leaks for i in (pair.a, pair.b)}):
        duration_s = find_track(tracks, track_id).duration_s
        seconds[group_of[track_id]][result.split_of[track_id]] += duration_s  # type: ignore[assignment]
    order = {split.name: i for i, split in enumerate(result.splits)}
    largest = {
        group: max(of_group, key=lambda split: (of_group[split], -order[split]))
        for group, of_group in seconds.items()
    }
    return {i: largest[number] for i, number in group_of.items() if number in largest}


def grouped_split(
    result: LeakResult, everything: Mapping[str, tuple[str, str]]
) -> list[PlacedFile]:
    """Return a split in which every group is on one side; sizes stay as near as groups allow.

    Groups are the tracks that flagged pairs connect, and clips of one track.  Only files of groups
    that are on several sides change: the largest group first, each goes where most of its files
    are, unless another side would else lose more than it.

    Parameters
    ----------
    result : LeakResult
    everything : mapping
        Path and SHA-256 of every file of the splits, by id.

    Returns
    -------
    list of PlacedFile
        By path.
    """
    order = [split.name for split in result.splits]
    wanted = {split.name: split.n_tracks for split in result.splits}
    groups = _merged(result)
    number_of = {i: number for number, group in enumerate(groups, start=1) for i in group}
    before = dict(result.split_of)
    placed: dict[str, str] = {}
    filled: Counter[str] = Counter()
    for track_id in everything:
        number = number_of.get(track_id, 0)
        sides = {before[i] for i in groups[number - 1]} if number else {before[track_id]}
        twice = number and any(i in result.listed_twice for i in groups[number - 1])
        if len(sides) == 1 and not twice:
            placed[track_id] = before[track_id]
            filled[before[track_id]] += 1
    left = [group for group in groups if any(i not in placed and i in everything for i in group)]
    for group in sorted(left, key=lambda ids: (-len(ids), ids)):
        here = Counter(before[i] for i in group)
        room = {name: wanted[name] - filled[name] for name in order}
        side = max(
            order, key=lambda name: (min(room[name], len(group)), here[name], -order.index(name))
        )
        for track_id in group:
            if track_id in everything:
                placed[track_id] = side
                filled[side] += 1
    files = [
        PlacedFile(
            path=path,
            id=track_id,
            sha256=sha256,
            split=placed[track_id],
            split_before=before[track_id],
            group=number_of.get(track_id, 0),
        )
        for track_id, (path, sha256) in everything.items()
    ]
    return sorted(files, key=lambda file: (file.path, file.id))


def _merged(result: LeakResult) -> list[tuple[str, ...]]:
    """Return groups and clips of one track, joined where they share a track, in their order."""
    root: dict[str, str] = {}

    def find(track_id: str) -> str:
        while root.setdefault(track_id, track_id) != track_id:
            root[track_id] = root[root[track_id]]
            track_id = root[track_id]
        return track_id

    for ids in (*(g.tracks for g in result.groups), *(c.tracks for c in result.same_track)):
        for track_id in ids:
            a, b = sorted((find(ids[0]), find(track_id)))
            root[b] = a
    members: dict[str, list[str]] = defaultdict(list)
    for track_id in sorted(root):
        members[find(track_id)].append(track_id)
    number_of = {i: number for number, group in enumerate(result.groups) for i in group.tracks}
    last = len(result.groups)
    joined = [tuple(ids) for ids in members.values()]
    return sorted(joined, key=lambda ids: (min(number_of.get(i, last) for i in ids), ids))


def rows_to_csv(rows: Sequence[RemovedFile] | Sequence[PlacedFile], names: Sequence[str]) -> str:
    """Return files as CSV (RFC 4180) with a header; formulas are led by an apostrophe."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\r\n")
    writer.writerow(names)
    for row in rows:
        cells = (getattr(row, name) for name in names)
        writer.writerow([lead_formula(c) if isinstance(c, str) else repr(c) for c in cells])
    return lines.getvalue()
