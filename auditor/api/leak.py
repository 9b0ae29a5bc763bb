"""Whether the test set of a data set leaks into its training set: pairs and groups across splits.

All pairs of the splits are compared, those inside a split too: a duplicate inside one split is told
apart from a leak, and a group of copies is known as a whole.
"""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.api.compare import (
    AcrossResult,
    SideFiles,
    find_across,
    missing_notes,
    require_sound,
    side_files,
)
from auditor.api.run import MAX_FALSE_PAIRS, Options, open_threshold
from auditor.api.scan import flagged_clusters, merge_skipped, worth_listing
from auditor.audio.fma_tags import FmaMetadata, load_fma
from auditor.catalogue.embedding_table import TrackTable
from auditor.catalogue.sources import name_of_tag
from auditor.decisions.apply import apply_decisions
from auditor.errors import UsageError
from auditor.evidence.alignment.ranges import covered_s
from auditor.evidence.side import mirrored_evidence
from auditor.ingest.collections import TakenCollection, take_collections
from auditor.ingest.prepare import Embedder
from auditor.ingest.session import OnEvent
from auditor.ingest.splits import SPLITS, NamedSplit
from auditor.parallel import OnProgress, Tiles
from auditor.records import (
    HeldTrack,
    LeakResult,
    Pair,
    Split,
    SplitGroup,
    Track,
    TrackClips,
    floor_use,
)
from auditor.scoring.base import open_scorer
from auditor.scoring.identical import identical_files
from auditor.scoring.losses import LossReader
from auditor.search.exact import clusters
from auditor.workspace import Workspace, make_provenance, require_tracks


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split that can be compared.

    Attributes
    ----------
    name : str
    taken : TakenCollection
    files : SideFiles
        Without those that an earlier split names, too.
    named : frozenset of str
        Ids of all files that the split names.
    """

    name: str
    taken: TakenCollection
    files: SideFiles
    named: frozenset[str]


def find_leaks(
    workspace: Workspace,
    splits: Sequence[NamedSplit],
    *,
    options: Options | None = None,
    fma: Path | FmaMetadata | None = None,
    embedder: Embedder | None = None,
    tiles: Tiles | None = None,
    on_event: OnEvent | None = None,
    on_pair: OnProgress | None = None,
    command: str = "",
) -> LeakResult:
    """Embed what is new in the splits of a data set and find what they have in common.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    splits : sequence of NamedSplit
        Two or three, see ``ingest.splits.find_splits``.
    options : Options, optional
        The budget covers all pairs of the splits.
    fma : pathlib.Path or FmaMetadata, optional
        FMA's metadata, for ids and tags.
    embedder, tiles, on_event, on_pair, command
        As for ``scan``.

    Returns
    -------
    LeakResult

    Raises
    ------
    AuditError
        If a split holds no audio or no usable sound, there is no threshold, or a part of the
        workspace is damaged.
    """
    started = time.monotonic()
    options = (options or Options()).with_budget(MAX_FALSE_PAIRS)
    open_threshold(workspace, open_scorer(workspace), options)  # refuses before decoding
    set_aside = workspace.catalogue.set_damaged_aside(workspace.weights_id)
    metadata = load_fma(fma) if isinstance(fma, Path) else fma
    ordered = sorted(splits, key=lambda split: SPLITS.index(split.name))
    taken = take_collections(
        workspace,
        [split.collection for split in ordered],
        fma=metadata,
        embedder=embedder,
        on_event=on_event,
    )
    table = workspace.catalogue.table(workspace.weights_id)
    require_tracks(workspace, len(table.tracks))
    distinct = table.distinct()
    notes = _nested(ordered, taken)
    named, twice = _apart(ordered, taken)
    parts = [
        SplitFiles(split.name, side, side_files(table, distinct, ids), ids)
        for split, side, ids in zip(ordered, taken, named, strict=True)
    ]
    _check_parts(parts, twice)
    here = frozenset().union(*named)
    union = side_files(table, distinct, here)
    found = find_across(
        workspace,
        distinct,
        (union, union),
        options=options,
        by_spectra=_later_and_earlier(parts, table, distinct),
        tiles=tiles,
        on_pair=on_pair,
    )
    tracks = found.tracks
    across, inside = _split_pairs(found, parts)
    decisions = workspace.catalogue.decisions()
    pairs = apply_decisions(across, tracks, decisions, options.same_owner)
    duplicates = apply_decisions(inside, tracks, decisions, options.same_owner)
    flagged_inside = tuple(pair for pair in duplicates if pair.flagged)
    split_of = {track_id: part.name for part in reversed(parts) for track_id in part.files.ids}
    twice = {i: names for i, names in twice.items() if i in tracks}
    groups = _groups(union, [*pairs, *flagged_inside], split_of, twice)
    held = _held(parts, pairs, tracks, twice)
    same_track = _same_track(union, groups, tracks, split_of)
    in_pairs = {i for pair in (*pairs, *flagged_inside) for i in (pair.a, pair.b)}
    in_pairs.update(twice, *(clips.tracks for clips in same_track), *union.same.values())
    listed = worth_listing(tracks, in_pairs, here)
    return LeakResult(
        tracks=tuple(listed),
        pairs=pairs,
        clusters=flagged_clusters(
            table.tracks.names(), pairs, tracks, union.same, LossReader(workspace)
        ),
        skipped=merge_skipped(
            *(side.skipped for side in taken),
            found.damaged_files(workspace, table, here, set_aside),
        ),
        n_tracks=len(union.ids),
        n_pairs_compared=found.scored.n_compared,
        search="exact",
        index_recall=found.scored.recall,
        histogram=found.scored.histogram,
        threshold=floor_use(found.use),
        provenance=make_provenance(workspace, command=command, started=started),
        detection=found.run.threshold.detection(found.use),
        catalogue_sha256=table.fingerprint(union.ids),
        identical=identical_files(union.same, tracks),
        within=True,
        notes=notes,
        splits=tuple(_describe(part, pairs, held, twice, tracks) for part in parts),
        split_of=dict(sorted(split_of.items())),
        listed_twice=dict(sorted(twice.items())),
        duplicates=flagged_inside,
        groups=groups,
        held=held,
        same_track=same_track,
    )


def _nested(splits: Sequence[NamedSplit], taken: Sequence[TakenCollection]) -> tuple[str, ...]:
    """Return what must be said of splits that lie inside another one, and of missing entries."""
    notes = []
    for i, outer in enumerate(taken):
        for j, inner in enumerate(taken):
            if i != j and inner.lies_in(outer):
                notes.append(
                    f"{splits[j].name} lies inside {splits[i].name}: its files count as "
                    f"{splits[j].name} only."
                )
    return (*notes, *missing_notes(taken))


def _apart(
    splits: Sequence[NamedSplit], taken: Sequence[TakenCollection]
) -> tuple[list[frozenset[str]], dict[str, tuple[str, ...]]]:
    """Return the files of each split, each in one only, and those that several splits name.

    A folder inside another one was meant to be apart from it; a file that two lists name was not.
    """
    ids = [side.ids for side in taken]
    for i, outer in enumerate(taken):
        for inner in taken:
            if outer is not inner and inner.lies_in(outer):
                ids[i] = ids[i] - inner.ids
    twice: dict[str, tuple[str, ...]] = {}
    seen: dict[str, str] = {}
    kept = []
    for split, of_split in zip(splits, ids, strict=True):
        for track_id in sorted(of_split & seen.keys()):
            twice[track_id] = (*twice.get(track_id, (seen[track_id],)), split.name)
        kept.append(frozenset(of_split - seen.keys()))
        seen |= dict.fromkeys(of_split - seen.keys(), split.name)
    return kept, twice


def _later_and_earlier(
    parts: Sequence[SplitFiles], table: TrackTable, distinct: TrackTable
) -> list[tuple[SideFiles, SideFiles]]:
    """Return each split but the first with all splits before it."""
    return [
        (part.files, side_files(table, distinct, {i for p in parts[:n] for i in p.files.ids}))
        for n, part in enumerate(parts[1:], start=1)
    ]


def _check_parts(parts: Sequence[SplitFiles], twice: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse splits of nothing, or that are one and the same.

    Raises
    ------
    UsageError
        If one holds no usable sound of its own and names no file of another one either.
    """
    names = {name for of_file in twice.values() for name in of_file}
    for part in parts:
        if not part.files.ids and part.name in names and part.taken.ids:
            others = [other for other in parts if other.taken.ids == part.taken.ids]
            if len(others) > 1:
                raise UsageError(
                    f"{others[0].name} and {part.name} are the same {len(part.taken.ids):,} files. "
                    "Give two different splits; for duplicates inside one, run: audit scan"
                )
            continue
        require_sound(part.taken, part.files)


def _split_pairs(found: AcrossResult, parts: Sequence[SplitFiles]) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs across splits and those inside one, of files.

    A pair of contents is one pair of each two splits that hold them, of the first file in each.
    """
    across: list[Pair] = []
    inside: list[Pair] = []
    for pair in found.scored.pairs:
        for i, part_a in enumerate(parts):
            on_a = part_a.files.by_content.get(pair.a)
            for j, part_b in enumerate(parts) if on_a else ():
                on_b = part_b.files.by_content.get(pair.b)
                if not on_a or not on_b:
                    continue
                n_files = {"n_files_a": len(on_a), "n_files_b": len(on_b)}
                one = dataclasses.replace(pair, a=on_a[0], b=on_b[0], **n_files)  # type: ignore[arg-type]
                if i == j:
                    inside.append(one)
                else:
                    across.append(one if i < j else mirrored(one))
    for i, part_a in enumerate(parts):
        for ids in part_a.files.same.values():
            n = len(ids)
            pair = found.identical_pair(ids[0], ids[1])
            inside.append(dataclasses.replace(pair, n_files_a=n, n_files_b=n))
        for part_b in parts[i + 1 :]:
            for content in sorted(part_a.files.by_content.keys() & part_b.files.by_content.keys()):
                on_a, on_b = part_a.files.by_content[content], part_b.files.by_content[content]
                pair = found.identical_pair(on_a[0], on_b[0])
                across.append(dataclasses.replace(pair, n_files_a=len(on_a), n_files_b=len(on_b)))
    for pairs in (across, inside):
        pairs.sort(key=lambda pair: (-pair.score, pair.a, pair.b))
    return across, inside


def mirrored(pair: Pair) -> Pair:
    """Return a pair with its tracks exchanged, and all that is said of either."""
    return dataclasses.replace(
        pair,
        a=pair.b,
        b=pair.a,
        n_files_a=pair.n_files_b,
        n_files_b=pair.n_files_a,
        evidence=None if pair.evidence is None else mirrored_evidence(pair.evidence),
    )


def _groups(
    union: SideFiles,
    pairs: Sequence[Pair],
    split_of: Mapping[str, str],
    twice: Mapping[str, tuple[str, ...]],
) -> tuple[SplitGroup, ...]:
    """Return the files that flagged pairs, equal bytes and double listing connect."""
    row_of = {track_id: row for row, track_id in enumerate(union.ids)}
    flagged = [pair for pair in pairs if pair.flagged]
    links = [(pair.a, pair.b) for pair in flagged]
    linked = {track_id for link in links for track_id in link}
    links += [(ids[0], i) for ids in union.same.values() if linked & set(ids) for i in ids[1:]]
    rows = np.array([[row_of[a], row_of[b]] for a, b in links], np.int64).reshape(-1, 2)
    members = clusters(len(union.ids), rows[:, 0], rows[:, 1])
    number = {row: i for i, group in enumerate(members) for row in group}
    highest = [-1.0] * len(members)
    for pair in flagged:
        i = number[row_of[pair.a]]
        highest[i] = max(highest[i], pair.score)
    alone = sorted(i for i in twice if i in row_of and row_of[i] not in number)
    found = [
        (tuple(union.ids[row] for row in group), score)
        for group, score in zip(members, highest, strict=True)
    ]
    found += [((track_id,), 1.0) for track_id in alone]
    groups = []
    for ids, score in found:
        names = {split_of[i] for i in ids} | {name for i in ids for name in twice.get(i, ())}
        splits = tuple(name for name in SPLITS if name in names)
        groups.append(SplitGroup(ids, splits, len(splits) > 1, score))
    return tuple(sorted(groups, key=lambda g: (not g.leak, -len(g.tracks), g.tracks)))


def _held(
    parts: Sequence[SplitFiles],
    pairs: Sequence[Pair],
    tracks: Mapping[str, Track],
    twice: Mapping[str, tuple[str, ...]],
) -> tuple[HeldTrack, ...]:
    """Return the tracks of later splits that the first one holds, with the seconds."""
    first = set(parts[0].files.ids)
    ranges: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for pair in pairs:
        if pair.flagged and pair.a in first:
            found = pair.evidence.ranges if pair.evidence is not None else ()
            spans = [(one.b_start_s, one.b_end_s) for one in found]
            ranges[pair.b] += spans or [(0.0, tracks[pair.b].duration_s)]
    held = []
    for part in parts[1:]:
        of_split = []
        for ids in part.files.by_content.values():
            spans = [span for track_id in ids for span in ranges.get(track_id, ())]
            for track_id in ids if spans else ():
                duration_s = tracks[track_id].duration_s
                seconds = min(covered_s(spans), duration_s)
                of_split.append(HeldTrack(track_id, part.name, round(seconds, 3), duration_s))
        for track_id, names in twice.items():
            if part.name in names[1:] and names[0] == parts[0].name:
                duration_s = tracks[track_id].duration_s
                of_split.append(HeldTrack(track_id, part.name, duration_s, duration_s))
        held += sorted(of_split, key=lambda one: (-one.held_s, one.track))
    return tuple(held)


def _same_track(
    union: SideFiles,
    groups: Sequence[SplitGroup],
    tracks: Mapping[str, Track],
    split_of: Mapping[str, str],
) -> tuple[TrackClips, ...]:
    """Return the files of one artist, title and album in several splits that nothing connects."""
    group_of = {i: number for number, group in enumerate(groups) for i in group.tracks}
    tagged: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for track_id in union.ids:
        track = tracks[track_id]
        artist, title = name_of_tag(track.artist), name_of_tag(track.title)
        if artist and title:
            tagged[artist, title, name_of_tag(track.album)].append(track_id)
    found = []
    for ids in tagged.values():
        apart = {(split_of[i], group_of.get(i, i)) for i in ids}
        unlinked = any(a[0] != b[0] and a[1] != b[1] for a in apart for b in apart)
        if unlinked:
            track = tracks[ids[0]]
            found.append(TrackClips(track.artist, track.title, track.album, tuple(ids)))
    return tuple(sorted(found, key=lambda clips: clips.tracks))


def _describe(
    part: SplitFiles,
    pairs: Sequence[Pair],
    held: Sequence[HeldTrack],
    twice: Mapping[str, tuple[str, ...]],
    tracks: Mapping[str, Track],
) -> Split:
    named = [i for i, names in twice.items() if part.name in names[1:]]
    ids = [*part.files.ids, *named]
    matched = {pair.b for pair in pairs if pair.flagged}
    leaked = {
        i
        for of_content in part.files.by_content.values()
        if matched & set(of_content)
        for i in of_content
    } | set(named)
    return Split(
        name=part.name,
        source=part.taken.collection.name,
        n_tracks=len(ids),
        n_contents=len(part.files.by_content) + len({tracks[i].sha256 for i in named}),
        duration_s=round(sum(tracks[i].duration_s for i in ids), 3),
        n_leaked=len(leaked),
        held_s=round(sum(one.held_s for one in held if one.split == part.name), 3),
    )
