"""Two collections against each other: cross pairs, each with its verdict.

Both collections are in one workspace, so that nothing is embedded twice, and are compared by the
content of their files.  A file that is in both is not compared with itself.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.api.run import MAX_FALSE_PAIRS, Options, open_threshold, with_note
from auditor.api.scan import damaged_files, flagged_clusters, merge_skipped, worth_listing
from auditor.audio.fma_tags import load_fma
from auditor.catalogue.embedding_table import TrackTable
from auditor.catalogue.sources import track_sources
from auditor.decisions.apply import apply_decisions
from auditor.errors import UsageError
from auditor.ingest.collections import TakenCollection, parse_collection, take_collections
from auditor.ingest.prepare import Embedder
from auditor.ingest.session import OnEvent
from auditor.parallel import LocalTiles, OnProgress, Tiles
from auditor.records import (
    ComparedCollection,
    CompareResult,
    Pair,
    Skipped,
    ThresholdUse,
    Track,
    floor_use,
)
from auditor.scoring.base import (
    RunContext,
    Scorer,
    ScoringResult,
    open_scorer,
)
from auditor.scoring.identical import identical_files, identical_pair
from auditor.scoring.identifiers import (
    Holders,
    holders_of,
    identifier_conflicts,
    named_tracks,
)
from auditor.scoring.losses import LossReader
from auditor.search.across import TwoSides
from auditor.workspace import Workspace, make_provenance, require_tracks


def compare(
    workspace: Workspace,
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    *,
    options: Options | None = None,
    within: bool = False,
    fma: Path | None = None,
    embedder: Embedder | None = None,
    tiles: Tiles | None = None,
    on_event: OnEvent | None = None,
    on_pair: OnProgress | None = None,
    command: str = "",
) -> CompareResult:
    """Embed what is new in two collections and find every flagged pair across them.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    first, second : str or path
        Folders, lists, workspaces or parts of one, see ``ingest.collections.parse_collection``.
    options : Options, optional
        The budget covers the pairs across the collections; the search is exact.
    within : bool
        Compare the pairs inside each collection, too.
    fma, embedder, tiles, on_event, on_pair, command
        As for ``scan``.

    Returns
    -------
    CompareResult
        Its tracks are those of the pairs and those that deserve a word: truncated, silent, missing.

    Raises
    ------
    AuditError
        If a side holds no audio or no usable sound, both are the same, there is no threshold, or a
        part of the workspace is damaged.

    Examples
    --------
    >>> from auditor.workspace import open_workspace
    >>> with open_workspace(".audit", write=True) as workspace:  # doctest: +SKIP
    ...     result = compare(workspace, "catalogue/", "incoming.csv")
    """
    started = time.monotonic()
    collections = [parse_collection(os.fspath(side)) for side in (first, second)]
    options = (options or Options()).with_budget(MAX_FALSE_PAIRS)
    scorer = open_scorer(workspace)
    open_threshold(workspace, scorer, options)  # refuses before anything is decoded
    damaged = workspace.catalogue.set_damaged_aside(workspace.weights_id)
    metadata = load_fma(fma) if fma is not None else None
    sides = take_collections(
        workspace, collections, fma=metadata, embedder=embedder, on_event=on_event
    )
    return compare_taken(
        workspace,
        sides[0],
        sides[1],
        options=options,
        within=within,
        damaged=damaged,
        tiles=tiles,
        on_pair=on_pair,
        command=command,
        started=started,
    )


@dataclass(frozen=True)
class SideFiles:
    """The files of one side that can be compared.

    Attributes
    ----------
    ids : tuple of str
        Sorted.
    by_content : dict of str to tuple of str
        Sorted ids of the files of each content, by the track that stands for the content.
    """

    ids: tuple[str, ...]
    by_content: dict[str, tuple[str, ...]]

    @property
    def same(self) -> dict[str, tuple[str, ...]]:
        """The ids of each content that several files hold, by the first (``SameFiles``)."""
        return {ids[0]: ids for ids in self.by_content.values() if len(ids) > 1}


def compare_taken(
    workspace: Workspace,
    first: TakenCollection,
    second: TakenCollection,
    *,
    options: Options,
    within: bool = False,
    damaged: Mapping[str, str] | None = None,
    tiles: Tiles | None = None,
    on_pair: OnProgress | None = None,
    command: str = "",
    started: float = 0.0,
) -> CompareResult:
    """Compare two collections whose tracks are in the catalogue, see ``compare``.

    Parameters
    ----------
    damaged : mapping, optional
        What ``Catalogue.set_damaged_aside`` returned.
    started : float
        ``time.monotonic()`` when the run began.
    """
    table = workspace.catalogue.table(workspace.weights_id)
    require_tracks(workspace, len(table.tracks))
    distinct = table.distinct()
    files = [side_files(table, distinct, side.ids) for side in (first, second)]
    for side, of_side in zip((first, second), files, strict=True):
        require_sound(side, of_side)
    if files[0].ids == files[1].ids:
        raise UsageError(
            f"{first.collection.name} and {second.collection.name} are the same "
            f"{len(files[0].ids):,} files. To compare a collection with itself, run: audit scan"
        )
    here = first.ids | second.ids
    union = side_files(table, distinct, {*files[0].ids, *files[1].ids})
    compared = (union, union) if within else (files[0], files[1])
    found = find_across(
        workspace, distinct, compared, options=options, tiles=tiles, on_pair=on_pair
    )
    tracks = found.tracks
    listed_pairs = [_of_files(pair, *compared) for pair in found.scored.pairs]
    listed_pairs += _identical_pairs(found, compared)
    listed_pairs.sort(key=lambda pair: (-pair.score, pair.a, pair.b))
    decisions = workspace.catalogue.decisions()
    pairs = apply_decisions(listed_pairs, tracks, decisions, options.same_owner)
    same = union.same
    in_pairs = {track_id for pair in pairs for track_id in (pair.a, pair.b)}
    in_pairs.update(*same.values())
    first_holders, second_holders = map(found.holders, compared)
    conflicts = identifier_conflicts(first_holders, second_holders, pairs, tracks)
    in_pairs |= named_tracks(conflicts)
    return CompareResult(
        tracks=tuple(worth_listing(tracks, in_pairs, here)),
        pairs=pairs,
        clusters=flagged_clusters(table.tracks.names(), pairs, tracks, same, LossReader(workspace)),
        skipped=merge_skipped(
            first.skipped,
            second.skipped,
            found.damaged_files(workspace, table, here, damaged or {}),
        ),
        n_tracks=len(union.ids),
        n_pairs_compared=found.scored.n_compared,
        search="exact",
        index_recall=found.scored.recall,
        histogram=found.scored.histogram,
        threshold=floor_use(found.use),
        provenance=make_provenance(workspace, command=command, started=started or time.monotonic()),
        detection=found.run.threshold.detection(found.use),
        catalogue_sha256=table.fingerprint(union.ids),
        identical=identical_files(same, tracks),
        identifiers=conflicts,
        collections=tuple(
            describe_side(side, of_side, tracks)
            for side, of_side in zip((first, second), files, strict=True)
        ),
        within=within,
        n_shared=len(set(files[0].ids) & set(files[1].ids)),
        notes=_notes(first, second, files),
    )


@dataclass(frozen=True)
class AcrossResult:
    """What was found across two sides, before it is said of files.

    Attributes
    ----------
    scorer : Scorer
    run : RunContext
    use : ThresholdUse
        The threshold with all that must be said of it.
    scored : ScoringResult
        Its pairs are of tracks that stand for their content.
    tracks : dict of str to Track
        Of the whole catalogue, damaged ones left out.
    damaged : dict of str to str
        Tracks whose rows are damaged, and what is wrong.
    """

    scorer: Scorer
    run: RunContext
    use: ThresholdUse
    scored: ScoringResult
    tracks: dict[str, Track]
    damaged: dict[str, str]

    def identical_pair(self, a: str, b: str) -> Pair:
        """Return the pair of two files of the same bytes."""
        return identical_pair(self.scorer, a, b, self.tracks, self.run)

    def holders(self, files: SideFiles) -> Holders:
        """Return which of the compared tracks of a side have each identifier of a recording."""
        return holders_of(
            self.tracks[track_id]
            for track_id in files.ids
            if track_id in self.tracks and track_id not in self.scored.damaged
        )

    def damaged_files(
        self,
        workspace: Workspace,
        table: TrackTable,
        here: Container[str],
        set_aside: Mapping[str, str],
    ) -> list[Skipped]:
        """Return the tracks of the sides that were not compared since their rows are damaged."""
        of_table = {i: set_aside.get(i, why) for i, why in table.damaged}
        every = of_table | self.damaged | self.scored.damaged
        return damaged_files(workspace, {i: why for i, why in every.items() if i in here})


def find_across(
    workspace: Workspace,
    distinct: TrackTable,
    compared: tuple[SideFiles, SideFiles],
    *,
    options: Options,
    by_spectra: Sequence[tuple[SideFiles, SideFiles]] = (),
    tiles: Tiles | None = None,
    on_pair: OnProgress | None = None,
) -> AcrossResult:
    """Compare the contents of two sides.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    distinct : TrackTable
        One track of each content of the catalogue.
    compared : tuple of SideFiles
        Both sides; one object twice compares the pairs inside it.
    by_spectra : sequence of tuple of SideFiles
        Parts of both sides of which the first also looks for the second by its spectra.
    options, tiles, on_pair
        As for ``compare``.
    """
    scorer = open_scorer(workspace)
    threshold = open_threshold(workspace, scorer, options)
    rotten: dict[str, str] = {}
    tracks = {track.id: track for track in workspace.catalogue.tracks(damaged=rotten)}
    sides = _two_sides(distinct, compared)
    ids = distinct.tracks.names()
    sources = track_sources([tracks[track_id] for track_id in ids])
    use = threshold.choose(sides.n_pairs, _n_of_one_source(sides, sources))
    run = RunContext(threshold, use)
    scored = scorer.compare(
        ids,
        distinct.embeddings,
        tracks,
        sides=sides,
        run=run,
        tiles=tiles or LocalTiles(),
        by_spectra=[_two_sides(distinct, each) for each in by_spectra],
        on_pair=on_pair,
    )
    use = threshold.with_music_note(
        use, scored.cosines, flagged_from=scored.similar_from, pairs=scored.examined
    )
    use = with_note(use, scored.left_out)
    return AcrossResult(scorer, run, use, scored, tracks, rotten)


def require_sound(side: TakenCollection, files: SideFiles) -> None:
    """Raise ``UsageError`` if nothing of a side can be compared."""
    if not files.ids:
        raise UsageError(
            f"{side.collection.name}: nothing to compare: none of its "
            f"{len(side.ids) + len(side.skipped):,} files contains usable sound. Give another "
            "collection."
        )


def side_files(table: TrackTable, distinct: TrackTable, ids: Iterable[str]) -> SideFiles:
    """Return the files of a side that have embeddings, grouped by content."""
    standing = {sha256: i for i, sha256 in enumerate(distinct.hashes.tolist())}
    kept: list[str] = []
    by_content: dict[str, list[str]] = {}
    for track_id in sorted(ids):
        row = table.tracks.row_of(track_id)
        if row >= 0:
            kept.append(track_id)
            content = distinct.tracks.id_of(standing[bytes(table.hashes[row])])
            by_content.setdefault(content, []).append(track_id)
    return SideFiles(tuple(kept), {content: tuple(files) for content, files in by_content.items()})


def _two_sides(distinct: TrackTable, files: Sequence[SideFiles]) -> TwoSides:
    return TwoSides.of(*(side_mask(distinct, side) for side in files))


def side_mask(distinct: TrackTable, files: SideFiles) -> np.ndarray:
    """Return which contents of a catalogue are on a side, (n,) bool."""
    mask = np.zeros(len(distinct.tracks), bool)
    mask[[distinct.tracks.row_of(content) for content in files.by_content]] = True
    return mask


def _n_of_one_source(sides: TwoSides, sources: Sequence[str]) -> int:
    """Return how many pairs across the sides are of one source."""
    left, right = sides.masks
    on_left = Counter(source for source, there in zip(sources, left, strict=True) if there)
    on_right = Counter(source for source, there in zip(sources, right, strict=True) if there)
    both = Counter(source for source, there in zip(sources, left & right, strict=True) if there)
    n_ordered = sum(n * on_right[source] - both[source] for source, n in on_left.items())
    return n_ordered - sum(n * (n - 1) // 2 for n in both.values())


def _in_both(files: Sequence[SideFiles]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the files on either side of each content that both sides hold."""
    first, second = files
    shared = sorted(first.by_content.keys() & second.by_content.keys())
    return [(first.by_content[content], second.by_content[content]) for content in shared]


def _other_file(on_left: Sequence[str], on_right: Sequence[str]) -> tuple[str, str] | None:
    """Return the first two different files of one content, one of either side; None if none."""
    different = ((a, b) for a in on_left[:2] for b in on_right[:2] if a != b)
    return next(different, None)


def _identical_pairs(found: AcrossResult, files: Sequence[SideFiles]) -> list[Pair]:
    pairs = []
    for on_left, on_right in _in_both(files):
        different = _other_file(on_left, on_right)
        if different is not None:
            pair = found.identical_pair(*different)
            pairs.append(dataclasses.replace(pair, n_files_a=len(on_left), n_files_b=len(on_right)))
    return pairs


def _of_files(pair: Pair, first: SideFiles, second: SideFiles) -> Pair:
    """Return a pair of contents as one of the first files that hold them on their side."""
    on_left, on_right = first.by_content[pair.a], second.by_content[pair.b]
    return dataclasses.replace(
        pair, a=on_left[0], b=on_right[0], n_files_a=len(on_left), n_files_b=len(on_right)
    )


def describe_side(
    side: TakenCollection, files: SideFiles, tracks: Mapping[str, Track]
) -> ComparedCollection:
    """Return what a result says of a side."""
    return ComparedCollection(
        side.collection.name,
        side.collection.kind.value,
        len(files.ids),
        len(files.by_content),
        round(sum(tracks[track_id].duration_s for track_id in files.ids), 3),
    )


def _notes(
    first: TakenCollection, second: TakenCollection, files: Sequence[SideFiles]
) -> tuple[str, ...]:
    notes = []
    n_shared = len(set(files[0].ids) & set(files[1].ids))
    if n_shared:
        verb = "file is" if n_shared == 1 else "files are"
        notes.append(
            f"{n_shared:,} {verb} in both collections; a file is not compared with itself."
        )
    return (*notes, *missing_notes((first, second)))


def missing_notes(sides: Iterable[TakenCollection]) -> list[str]:
    """Return what must be said of entries that do not exist, nothing if there are none."""
    n_missing = sum(len(side.collection.missing) for side in sides)
    verb = "entry does" if n_missing == 1 else "entries do"
    return [f"{n_missing:,} {verb} not exist and could not be compared."] if n_missing else []
