"""What the outputs of a model repeat of its training music, beyond what held-out music explains.

Every segment of every output is compared with the training and with the held-out music at one
threshold (``scoring.segments``).  Tracks by an artist who is on both sides, and recordings that are
on both, count on neither.  Which recordings these are is looked up for the tracks that outputs
repeat: no other track changes the result.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from auditor.api.compare import (
    SideFiles,
    describe_side,
    find_across,
    missing_notes,
    require_sound,
    side_files,
    side_mask,
)
from auditor.api.compositions import tracks_of_compositions
from auditor.api.excess import (
    CountedSide,
    Repeated,
    equal_shares,
    least_excess,
    measure_excess,
)
from auditor.api.repeated_compositions import find_compositions
from auditor.api.replication import N_HOSTS, Setup, replicate
from auditor.api.run import MAX_FALSE_PAIRS, Options, open_threshold, with_note
from auditor.api.scan import damaged_files, flagged_clusters, merge_skipped, worth_listing
from auditor.audio.files import real_path
from auditor.catalogue.embedding_table import TrackTable
from auditor.catalogue.sources import name_of_tag
from auditor.decisions.apply import apply_decisions
from auditor.errors import UsageError
from auditor.evidence.alignment.ranges import covered_s
from auditor.evidence.side import whole_range
from auditor.ingest.collections import (
    TakenCollection,
    parse_collection,
    take_collections,
)
from auditor.ingest.path_lists import LIST_SUFFIXES, read_path_list
from auditor.ingest.prepare import Embedder
from auditor.ingest.session import OnEvent
from auditor.parallel import LocalTiles, OnProgress, Tiles
from auditor.records import (
    Excess,
    GeneratedOutput,
    GeneratedResult,
    Pair,
    ReferenceSide,
    Repeat,
    RepeatedTrack,
    Replication,
    Track,
    floor_use,
)
from auditor.scoring.base import RunContext, Scorer, open_scorer
from auditor.scoring.identical import identical_files
from auditor.scoring.segments import (
    SEGMENT_S,
    STEP_S,
    RepeatedRanges,
    SegmentsResult,
    count_segments,
    scored_pair,
    search_outputs,
    side_rows,
)
from auditor.scoring.spectral_candidates import describe_blocks
from auditor.scoring.track_reader import CatalogueReader, TrackReader
from auditor.workspace import Workspace, make_provenance, require_tracks

MIN_S = 10.0
"""Seconds of one track that an output must repeat to count in the statement."""

MIN_SECONDS = (0.0, 5.0, 10.0, 20.0, 30.0)
"""Limits that the excess is measured for; 0 stands for whatever is found."""

TRAINING, HELDOUT = "training", "heldout"
SIDES = (TRAINING, HELDOUT)
_NAMES = {TRAINING: "the training music", HELDOUT: "the held-out music"}


@dataclass(frozen=True)
class GeneratedOptions:
    """What is counted.

    Attributes
    ----------
    min_s : float
        Seconds of one track that an output must repeat to count in the statement.
    keep_artists : bool
        Count tracks by artists who are on both sides, too.
    power : bool
        Measure what would have been found.
    n_hosts : int
        Outputs that passages are put into for it.
    seed : int
        Of intervals and replications.

    Raises
    ------
    UsageError
        If ``min_s`` is not from 0 to 3,600, or there is no output to put passages into.
    """

    min_s: float = MIN_S
    keep_artists: bool = False
    power: bool = True
    n_hosts: int = N_HOSTS
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_s <= 3600.0:
            raise UsageError(f"--min-seconds is {self.min_s:g}; it lies from 0 to 3,600 seconds.")
        if self.n_hosts < 1 or self.seed < 0:
            raise UsageError(
                f"--power-outputs is {self.n_hosts} and --seed {self.seed}; at least 1 and 0 are "
                "needed."
            )


@dataclass(frozen=True)
class _Counting:
    """Which contents of either side count, and why the others do not.

    Attributes
    ----------
    excluded : tuple of dict
        Of training and held-out music: content to ``artist`` or ``recording``.
    sides : tuple of CountedSide
    described : tuple of ReferenceSide
    """

    excluded: tuple[dict[str, str], dict[str, str]]
    sides: tuple[CountedSide, CountedSide]
    described: tuple[ReferenceSide, ReferenceSide]


@dataclass(frozen=True)
class _Sides:
    """The three collections, each file in one of them at most, but training and held-out music.

    Attributes
    ----------
    taken : tuple of TakenCollection
        Outputs, training music, held-out music.
    files : tuple of SideFiles
    notes : list of str
    """

    taken: tuple[TakenCollection, ...]
    files: tuple[SideFiles, ...]
    notes: list[str] = field(default_factory=list)


def find_repeats(
    workspace: Workspace,
    outputs: str | os.PathLike[str],
    training: str | os.PathLike[str],
    heldout: str | os.PathLike[str],
    *,
    options: Options | None = None,
    counting: GeneratedOptions | None = None,
    embedder: Embedder | None = None,
    tiles: Tiles | None = None,
    on_event: OnEvent | None = None,
    on_output: OnProgress | None = None,
    on_pair: OnProgress | None = None,
    on_case: OnProgress | None = None,
    on_track: OnProgress | None = None,
    command: str = "",
) -> GeneratedResult:
    """Find what the outputs of a model repeat of its training music.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    outputs, training, heldout : str or path
        Collections, see ``ingest.collections.parse_collection``; outputs may be a list with columns
        such as prompt, seed and model, which are carried through.
    options : Options, optional
        The budget covers all segments and tracks of both sides.  With ``wide``, passages of three
        seconds are looked for, too, at twice the comparisons.  With ``compositions``, also say
        what is repeated as a composition.
    counting : GeneratedOptions, optional
    embedder, tiles, on_event : optional
        As for ``compare``.
    on_output, on_pair, on_case, on_track : callables, optional
        Progress of comparing outputs, of looking up shared recordings, of replications, and of
        reading pitches.
    command : str
        Kept in the provenance.

    Returns
    -------
    GeneratedResult

    Raises
    ------
    AuditError
        If a collection holds no audio or no usable sound, two are the same, nothing is left to
        count, the extractor cannot align d-vectors, or no threshold is calibrated.

    Examples
    --------
    >>> from auditor.workspace import open_workspace
    >>> with open_workspace(".audit", write=True) as workspace:  # doctest: +SKIP
    ...     result = find_repeats(workspace, "outputs.csv", "training/", "heldout/")
    >>> print(result.statement)  # doctest: +SKIP
    """
    started = time.monotonic()
    counting = counting or GeneratedOptions()
    options = (options or Options()).with_budget(MAX_FALSE_PAIRS)
    scorer = open_scorer(workspace)
    if not scorer.id.startswith("match/"):
        raise UsageError(
            f"the extractor {workspace.extractor.name} tells tracks apart but not what is repeated "
            "when, so it cannot compare segments. Leave out --extractor."
        )
    threshold = open_threshold(workspace, scorer, options)
    set_aside = workspace.catalogue.set_damaged_aside(workspace.weights_id)
    named = [os.fspath(name) for name in (outputs, training, heldout)]
    taken = take_collections(
        workspace,
        [parse_collection(name) for name in named],
        embedder=embedder,
        on_event=on_event,
    )
    table = workspace.catalogue.table(workspace.weights_id)
    require_tracks(workspace, len(table.tracks))
    distinct = table.distinct()
    sides = _apart(taken, table, distinct)
    rotten: dict[str, str] = {}
    tracks = {track.id: track for track in workspace.catalogue.tracks(damaged=rotten)}
    tiles = tiles or LocalTiles()
    own = CatalogueReader.of(workspace, table=distinct)
    own.excerpts()
    contents = sorted(sides.files[0].by_content)
    masks = tuple(np.packbits(side_mask(distinct, files)).tobytes() for files in sides.files[1:])
    own.store_spectra(sorted({*contents, *sides.files[1].by_content, *sides.files[2].by_content}))
    reader: TrackReader = tiles.publish(own, with_excerpts=True)
    n_segments = sum(count_segments(tracks[i].duration_s) for i in contents)
    n_references = sum(len(files.by_content) for files in sides.files[1:])
    n_ways = 2 if options.wide else 1  # each pair is also searched for passages of seconds
    n_ways = 2 if options.wide else 1  # each pair is also searched for passages of seconds
    n_pairs = n_segments * n_references
    use = threshold.choose(n_ways * n_pairs)
    if options.wide:
        use = with_note(
            dataclasses.replace(use, n_pairs=n_pairs),
            "Segments were also searched for passages of seconds (--wide), which doubles the "
            "number of comparisons.",
        )
    searched = search_outputs(
        tiles,
        reader,
        contents,
        masks,
        threshold=use.threshold,
        wide=options.wide,
        on_output=on_output,
    )
    found = [*searched.found, *_same_bytes(sides.files, tracks)]
    linked = _linked(
        workspace, distinct, sides.files, found, options=options, tiles=tiles, on_pair=on_pair
    )
    counts = _count_sides(sides.files, linked, tracks, counting)
    repeated = _repeated_seconds(found)
    excess = _excesses(contents, repeated, counts, counting)
    run = RunContext(threshold, use)
    pairs = _pairs(scorer, run, sides.files, found, tracks)
    decisions = workspace.catalogue.decisions()
    pairs_of_training = apply_decisions(pairs, tracks, decisions, options.same_owner)
    replications: tuple[Replication, ...] = ()
    notes = [*sides.notes, *_counting_notes(counts, excess[0], len(contents), counting)]
    if counting.power:
        quiet = set(repeated[0]) | set(repeated[1])
        paths = workspace.catalogue.paths()
        rows = side_rows(own, masks[0])
        blocks = list(describe_blocks(own, rows)) if options.wide else []
        setup = Setup(workspace, own, masks[0], use.threshold, paths, blocks)
        replications, further = replicate(
            setup,
            [i for i in contents if i not in quiet] or contents,
            sorted(counts.sides[0].source_of),
            n_hosts=counting.n_hosts,
            seed=counting.seed,
            on_case=on_case,
        )
        notes += further
    pieces = None
    if options.compositions:
        pieces = find_compositions(
            workspace,
            sides.files,
            tracks,
            counts.sides,
            options=options,
            limits=_limits(counting),
            max_false=use.budget or MAX_FALSE_PAIRS,
            seed=counting.seed,
            on_track=on_track,
            on_output=on_output,
        )
        said = statement(pieces.excess[0], len(contents), counts.described[0])
        notes.append(f"As compositions, whatever the recording: {said}.")
    here = frozenset().union(*(side.ids for side in sides.taken))
    union = side_files(table, distinct, here)
    repeats = _repeats(sides.files, found, counts)
    in_pairs = {i for one in repeats for i in (one.output, one.track)}
    compositions = None if pieces is None else pieces.compositions
    in_pairs.update(sides.files[0].ids, *linked.copies.values(), *linked.copies)
    in_pairs.update(tracks_of_compositions(compositions))
    in_pairs.update(*(copies for first, copies in union.same.items() if in_pairs & set(copies)))
    same = {first: copies for first, copies in union.same.items() if in_pairs & set(copies)}
    damaged = {i: why for i, why in (rotten | searched.damaged | set_aside).items() if i in here}
    return GeneratedResult(
        tracks=tuple(worth_listing(tracks, in_pairs, here)),
        pairs=pairs_of_training,
        clusters=flagged_clusters(table.tracks.names(), pairs_of_training, tracks, same),
        skipped=merge_skipped(
            *(side.skipped for side in sides.taken), damaged_files(workspace, damaged)
        ),
        n_tracks=sum(len(files.ids) for files in sides.files),
        n_pairs_compared=searched.n_examined,
        search="exact",
        index_recall=None,
        histogram={},
        threshold=floor_use(use),
        provenance=make_provenance(workspace, command=command, started=started),
        detection=threshold.detection(use),
        catalogue_sha256=table.fingerprint(union.ids),
        identical=identical_files(same, tracks),
        collections=tuple(
            describe_side(side, files, tracks)
            for side, files in zip(sides.taken, sides.files, strict=True)
        ),
        notes=tuple(notes),
        statement=statement(excess[0], len(contents), counts.described[0]),
        compositions=compositions,
        excess=(*excess, *(() if pieces is None else pieces.excess)),
        outputs=_outputs(sides, searched, repeats, tracks, _manifest(named[0])),
        repeats=repeats,
        repeated=_repeated_tracks(sides.files[1], repeats, linked, counts),
        sides=counts.described,
        replications=replications,
        segment_s=SEGMENT_S,
        step_s=STEP_S,
        n_segments=n_segments,
        seed=counting.seed,
    )


def _apart(taken: Sequence[TakenCollection], table: TrackTable, distinct: TrackTable) -> _Sides:
    """Return the collections with each output in no other one, and nested folders apart.

    Raises
    ------
    UsageError
        If two are the same files, or one holds nothing that can be compared.
    """
    ids = [side.ids for side in taken]
    words = ("OUTPUTS", "--training", "--heldout")
    for i, j in ((0, 1), (0, 2), (1, 2)):
        if ids[i] and ids[i] == ids[j]:
            raise UsageError(
                f"{words[i]} and {words[j]} are the same {len(ids[i]):,} files "
                f"({taken[i].collection.name}). Give the outputs of the model, the music it was "
                "trained on, and music that it never saw."
            )
    notes = []
    for outer, inner in ((0, 1), (0, 2), (1, 0), (2, 0), (1, 2), (2, 1)):
        if taken[inner].lies_in(taken[outer]):
            ids[outer] = ids[outer] - taken[inner].ids
            notes.append(
                f"{taken[inner].collection.name} lies inside {taken[outer].collection.name}: its "
                f"files count as {words[inner]} only."
            )
    for i in (1, 2):
        shared = ids[0] & ids[i]
        if shared:
            ids[i] = ids[i] - ids[0]
            notes.append(
                f"{len(shared):,} {'file is' if len(shared) == 1 else 'files are'} listed in "
                f"OUTPUTS and in {words[i]}, and count as outputs only."
            )
    notes += missing_notes(taken)
    files = tuple(side_files(table, distinct, part) for part in ids)
    for side, of_side in zip(taken, files, strict=True):
        require_sound(side, of_side)
    apart = tuple(
        dataclasses.replace(side, ids=part) for side, part in zip(taken, ids, strict=True)
    )
    return _Sides(apart, files, notes)


def _same_bytes(files: Sequence[SideFiles], tracks: Mapping[str, Track]) -> list[RepeatedRanges]:
    """Return the outputs whose very bytes are on a side."""
    return [
        RepeatedRanges(content, content, place, (whole_range(tracks[content].duration_s),))
        for place, side in enumerate(files[1:])
        for content in sorted(files[0].by_content.keys() & side.by_content.keys())
    ]


@dataclass(frozen=True)
class _Linked:
    """What the tracks that outputs repeat share with other tracks of both sides.

    Attributes
    ----------
    copies : dict
        Training contents that hold what a repeated training track holds, by content.
    on_both : frozenset of str
        Contents that share a recording with the other side.
    """

    copies: dict[str, tuple[str, ...]]
    on_both: frozenset[str]


def _linked(
    workspace: Workspace,
    distinct: TrackTable,
    files: Sequence[SideFiles],
    found: Iterable[RepeatedRanges],
    *,
    options: Options,
    tiles: Tiles,
    on_pair: OnProgress | None,
) -> _Linked:
    """Compare the tracks that outputs repeat with all of both sides."""
    training, heldout = files[1], files[2]
    both = training.by_content.keys() & heldout.by_content.keys()
    repeated = {one.track for one in found}
    copies: dict[str, set[str]] = defaultdict(set)
    on_both = set(both)
    if repeated:
        every = training.by_content | heldout.by_content
        references = SideFiles(tuple(sorted(i for f in every.values() for i in f)), every)
        asked = {content: every[content] for content in sorted(repeated)}
        asking = SideFiles(tuple(sorted(i for f in asked.values() for i in f)), asked)
        across = find_across(
            workspace,
            distinct,
            (asking, references),
            options=options,
            tiles=tiles,
            on_pair=on_pair,
        )
        for pair in across.scored.pairs:
            if not pair.flagged:
                continue
            for a, b in ((pair.a, pair.b), (pair.b, pair.a)):
                if a in training.by_content and b in heldout.by_content:
                    on_both |= {a, b}
                if a in training.by_content and b in training.by_content:
                    copies[a].add(b)
    return _Linked({a: tuple(sorted(b)) for a, b in copies.items()}, frozenset(on_both))


def _count_sides(
    files: Sequence[SideFiles],
    linked: _Linked,
    tracks: Mapping[str, Track],
    counting: GeneratedOptions,
) -> _Counting:
    """Return what counts on either side.

    Raises
    ------
    UsageError
        If nothing is left of a side.
    """
    artists = [
        {content: name_of_tag(tracks[content].artist) for content in side.by_content}
        for side in files[1:]
    ]
    shared = (set(artists[0].values()) & set(artists[1].values())) - {""}
    excluded: list[dict[str, str]] = []
    for names in artists:
        why = dict.fromkeys((c for c in names if c in linked.on_both), "recording")
        if not counting.keep_artists:
            why |= {c: "artist" for c, name in names.items() if name in shared}
        excluded.append(why)
    for name, names, why in zip(SIDES, artists, excluded, strict=True):
        if len(why) == len(names):
            raise UsageError(
                f"nothing is left of {_NAMES[name]}: all of its {len(names):,} tracks have an "
                "artist or a recording that the other side has, too. Give held-out music by other "
                "artists, or give --keep-artists."
            )
    sources = [
        {c: artist or f"track {c}" for c, artist in names.items() if c not in why}
        for names, why in zip(artists, excluded, strict=True)
    ]
    lengths = [sum(tracks[c].duration_s for c in of_side) for of_side in sources]
    shares = equal_shares(lengths[0], lengths[1])
    described = []
    for place, name in enumerate(SIDES):
        reasons = Counter(excluded[place].values())
        described.append(
            ReferenceSide(
                name,
                len(sources[place]),
                round(lengths[place], 3),
                reasons["artist"],
                reasons["recording"],
                sum(not artist for artist in artists[place].values()),
                round(shares[place], 4),
            )
        )
    counted = [CountedSide(one, share) for one, share in zip(sources, shares, strict=True)]
    return _Counting(
        (excluded[0], excluded[1]), (counted[0], counted[1]), (described[0], described[1])
    )


def _repeated_seconds(found: Iterable[RepeatedRanges]) -> tuple[Repeated, Repeated]:
    """Return the seconds that each output repeats of each track, for both sides."""
    seconds: tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]] = ({}, {})
    for one in found:
        spans = [(r.a_start_s, r.a_end_s) for r in one.ranges]
        seconds[one.side].setdefault(one.output, {})[one.track] = covered_s(spans)
    return seconds


def _excesses(
    contents: Sequence[str],
    repeated: tuple[Repeated, Repeated],
    counts: _Counting,
    counting: GeneratedOptions,
) -> tuple[Excess, ...]:
    return tuple(
        measure_excess(contents, repeated, counts.sides, min_s=min_s, seed=counting.seed)
        for min_s in _limits(counting)
    )


def _limits(counting: GeneratedOptions) -> list[float]:
    """Return the limits that the excess is measured for, that of the statement first."""
    return [counting.min_s, *(s for s in MIN_SECONDS if s != counting.min_s)]


def _counting_notes(
    counts: _Counting, excess: Excess, n_outputs: int, counting: GeneratedOptions
) -> list[str]:
    notes = []
    for side in counts.described:
        n = side.n_same_artist + side.n_same_recording
        if n:
            tracks = f"{n:,} {'track' if n == 1 else 'tracks'} of {_NAMES[side.name]}"
            notes.append(
                f"{tracks} {'does' if n == 1 else 'do'} not count: {side.n_same_artist:,} by "
                f"artists who are on both sides, {side.n_same_recording:,} with recordings that "
                "are on both sides."
            )
    unknown = [side for side in counts.described if side.n_without_artist]
    if unknown and not counting.keep_artists:
        tracks = " and ".join(
            f"{side.n_without_artist:,} of {_NAMES[side.name]}" for side in unknown
        )
        notes.append(
            f"Tracks whose tags name no artist: {tracks}. Whether one artist is on both sides "
            "cannot be told of them."
        )
    training, heldout = counts.described
    if training.sampled < 1.0:
        least = least_excess(n_outputs, excess.heldout, training.sampled)
        equal = least_excess(n_outputs, excess.heldout)
        notes.append(
            f"There is less held-out music than training music: the excess counts a sample of "
            f"{100 * training.sampled:.2g} % of it. {_told_from(least)}; with as much held-out as "
            f"training music: {_outputs_word(equal)}."
        )
    elif heldout.sampled < 1.0:
        notes.append(
            "There is more held-out music than training music: the excess counts a sample of "
            f"{100 * heldout.sampled:.2g} % of it."
        )
    return notes


def _told_from(least: float | None) -> str:
    if least is None:
        return "No number of outputs can be told from chance with so little of it"
    return f"{_outputs_word(least)} must repeat training music to be told from chance"


def _outputs_word(n: float | None) -> str:
    if n is None:
        return "more than there are"
    return f"{n:,.0f} {'output' if round(n) == 1 else 'outputs'}"


def statement(excess: Excess, n_outputs: int, training: ReferenceSide) -> str:
    """Return the result in one sentence.

    Examples
    --------
    >>> side = ReferenceSide("training", 900, 1e5, 0, 0, 0, 1.0)
    >>> statement(Excess("recording", 10.0, 7, 0, 7.0, 0.0, 7.0, 2.6, 13.2), 1000, side)
    'of 1,000 outputs 7 (95 %: 3–13) repeat 10 s or more of the training music beyond what \
held-out music explains; 0 of H'
    """
    number, low, high = (round(value) + 0 for value in (excess.excess, excess.low, excess.high))
    between = f"{low:,}–{high:,}" if low >= 0 else f"−{-low:,} to {_signed(high)}"
    length = f"{excess.min_s:g} s or more of" if excess.min_s else "some of"
    music = "the training music"
    if training.sampled < 1.0:
        music = (
            f"a sample of the training music as large as the held-out music "
            f"({100 * training.sampled:.2g} %)"
        )
    verb = "repeats" if number == 1 else "repeat"
    outputs = "output" if n_outputs == 1 else "outputs"
    return (
        f"of {n_outputs:,} {outputs} {_signed(number)} (95 %: {between}) {verb} {length} {music} "
        f"beyond what held-out music explains; {excess.n_heldout:,} of H"
    )


def _signed(value: int) -> str:
    return f"{value:,}".replace("-", "−")


def _pairs(
    scorer: Scorer,
    run: RunContext,
    files: Sequence[SideFiles],
    found: Iterable[RepeatedRanges],
    tracks: Mapping[str, Track],
) -> list[Pair]:
    """Return one pair for each output and training track, of files, best first."""
    outputs, training = files[0], files[1]
    pairs = []
    for one in found:
        if one.side:
            continue
        scored = scored_pair(
            one, a_s=tracks[one.output].duration_s, b_s=tracks[one.track].duration_s
        )
        on_a, on_b = outputs.by_content[one.output], training.by_content[one.track]
        scored = dataclasses.replace(scored, a=on_a[0], b=on_b[0])
        pair = scorer.judge(scored, tracks, run)
        pairs.append(
            dataclasses.replace(pair, similarity=None, n_files_a=len(on_a), n_files_b=len(on_b))
        )
    return sorted(pairs, key=lambda pair: (-pair.score, pair.a, pair.b))


def _repeats(
    files: Sequence[SideFiles], found: Iterable[RepeatedRanges], counts: _Counting
) -> tuple[Repeat, ...]:
    """Return every passage, of the first file of each content."""
    repeats = []
    for one in found:
        output = files[0].by_content[one.output][0]
        track = files[1 + one.side].by_content[one.track][0]
        counted = one.track not in counts.excluded[one.side]
        for r in one.ranges:
            repeats.append(
                Repeat(
                    output,
                    track,
                    SIDES[one.side],
                    round(r.a_start_s, 3),
                    round(r.a_end_s, 3),
                    round(r.b_start_s, 3),
                    round(r.b_end_s, 3),
                    round(r.tempo, 5),
                    r.pitch_semitones,
                    r.match_score or 0.0,
                    counted,
                )
            )
    return tuple(sorted(repeats, key=lambda r: (r.output, r.start_s, r.end_s, r.side, r.track)))


def _outputs(
    sides: _Sides,
    searched: SegmentsResult,
    repeats: Sequence[Repeat],
    tracks: Mapping[str, Track],
    columns: Mapping[bytes, dict[str, str]],
) -> tuple[GeneratedOutput, ...]:
    """Return all outputs, by path; files of the same bytes have the repeats of the first one."""
    spans: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for one in repeats:
        spans[one.output, one.side].append((one.start_s, one.end_s))
    path_of = {track_id: path for path, track_id in sides.taken[0].paths.items()}
    made = []
    for content, ids in sides.files[0].by_content.items():
        for track_id in ids:
            made.append(
                GeneratedOutput(
                    track_id,
                    searched.n_segments.get(content, 0),
                    round(covered_s(spans[ids[0], TRAINING]), 3),
                    round(covered_s(spans[ids[0], HELDOUT]), 3),
                    columns.get(path_of.get(track_id, b""), {}),
                )
            )
    return tuple(sorted(made, key=lambda one: (tracks[one.track].path, one.track)))


def _manifest(name: str) -> dict[bytes, dict[str, str]]:
    """Return the columns of a list of outputs, by real path; none of a folder."""
    path = Path(name)
    if not (path.is_file() and path.suffix.lower() in LIST_SUFFIXES):
        return {}
    return {real_path(entry.path): entry.values for entry in read_path_list(path)}


def _repeated_tracks(
    training: SideFiles, repeats: Sequence[Repeat], linked: _Linked, counts: _Counting
) -> tuple[RepeatedTrack, ...]:
    """Return the training tracks that outputs repeat, the most often repeated first."""
    content_of = {ids[0]: content for content, ids in training.by_content.items()}
    spans: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for one in repeats:
        if one.side == TRAINING:
            spans[one.track][one.output].append((one.start_s, one.end_s))
    made = []
    for track_id, of_outputs in spans.items():
        content = content_of[track_id]
        copies = [i for other in linked.copies.get(content, ()) for i in training.by_content[other]]
        made.append(
            RepeatedTrack(
                track_id,
                len(of_outputs),
                round(sum(covered_s(s) for s in of_outputs.values()), 3),
                (*training.by_content[content][1:], *sorted(copies)),
                counts.excluded[0].get(content, ""),
            )
        )
    return tuple(sorted(made, key=lambda one: (-one.n_outputs, -one.repeated_s, one.track)))
