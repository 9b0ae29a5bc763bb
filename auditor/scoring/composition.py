"""The composition match: the same piece, played anew.

Tracks are proposed by their summaries (``search.compositions``), or all of them where they are few;
each candidate is aligned (``evidence.composition``).  The sum along the best path grows with the
lengths of both tracks and with how common their music is, so it is set against the sums of either
track with a fixed cohort of unrelated works (AS-norm of speaker verification; Matejka et al. 2017).
The cohort is part of the model: a score depends on the two tracks and on nothing else.

The rate of a score is read from a calibration of its own.  Few of all pairs of a library are
versions of each other, so no fixed rate serves every library; the result is a list, best first,
that says down to each line how many of its pairs are expected to be chance.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from auditor.calibration.choose import RunThreshold, ThresholdOptions
from auditor.calibration.metrics import poisson_quantile
from auditor.catalogue.embedding_table import TrackTable
from auditor.catalogue.track_spectrum import read_track_spectrum
from auditor.errors import ThresholdError, UsageError
from auditor.evidence.composition.agreement import Agreement, agreement
from auditor.evidence.composition.align import align, raw_scores
from auditor.evidence.composition.pitches import PitchTrack
from auditor.evidence.composition.roll import lines_of
from auditor.evidence.side import Side
from auditor.ingest.submissions import Submission
from auditor.parallel import OnProgress, Tiles
from auditor.records import (
    CompositionMatch,
    Compositions,
    CompositionVerdict,
    Evidence,
    NotComparable,
    Pair,
    Track,
    TrackEmbedding,
    Verdict,
    floor_rate,
)
from auditor.scoring.base import RunContext, ScoredPair, ScoringResult
from auditor.scoring.examined import AlignedPairs, PairKeys
from auditor.search.compositions import (
    PitchStore,
    StoredPitches,
    Summaries,
    nearest_contents,
)
from auditor.workspace import Workspace

if TYPE_CHECKING:
    from auditor.embedding.extractor import Extractor
    from auditor.embedding.salience import PitchModel

SCORER_ID = "composition/1"
MAX_CHANCE_SHARE = 0.1
"""Lines are flagged down to this share of chance, unless told otherwise."""

LOOSEST_FAR = 1e-3
"""However few the pairs, no line is flagged that more of unrelated pairs would reach."""

N_CANDIDATES = 40
"""Tracks that are aligned with each track of a scan, or with each submission of a check."""

MAX_EXHAUSTIVE = 150
"""Up to so many tracks all are candidates."""

MIN_MELODY, MIN_HARMONY, MIN_SCORE_OF_NEITHER = 0.38, 0.5, 0.38
"""Tracks share their chords only where the melodies agree by less than the first and the chords by
the second or more.  Where neither agrees so far, it may be a varied melody over other chords, or
chords that were badly heard: the score must reach the third.  Chosen on 213 pairs of melodies over
the same chords, one of which stays flaggable (6 with 0.35 and no third number), and on 518 pairs of
versions, of which 4 of 483 are lost, all of the training side."""

N_LISTED = 200
"""Lines that a result keeps where fewer are flagged."""

MIN_REPETITION = 0.85
"""Two tracks that repeat one figure so far have nothing in common but a figure."""

MAX_LISTED_SHARE = 0.5
_HALF = 10.0
_LEAST_SPREAD = 0.1
_STORED_AT_ONCE = 32


def score_of(z: float) -> float:
    """Return a normalised sum as a score below 1; 0.5 stands for ten standard deviations.

    Examples
    --------
    >>> score_of(0.0), score_of(10.0)
    (0.0, 0.5)
    """
    return z / (_HALF + abs(z))


class CompositionReader:
    """Pitches of tracks: stored ones, or made of the stored spectra.

    Parameters
    ----------
    workspace : Workspace
    model : PitchModel, optional
        The shipped one by default.
    """

    def __init__(self, workspace: Workspace, model: PitchModel | None = None) -> None:
        from auditor.embedding.salience import load_pitch_model

        self.workspace = workspace
        self.model = model or load_pitch_model()
        self.store = PitchStore(
            workspace.directory / "pitches", self.model.id, writable=workspace.writable
        )
        self.stored = functools.lru_cache(maxsize=256)(self._stored)
        self.track = functools.lru_cache(maxsize=256)(self._track)

    @functools.cached_property
    def cohort(self) -> list[PitchTrack]:
        """The works that scores are normalised with."""
        return [PitchTrack(rows) for rows in self.model.cohort]

    def made_of(self, spectrum: np.ndarray | None) -> StoredPitches:
        """Return what is kept of a spectrum, (n_frames, n_bands) uint8."""
        empty = np.zeros((0, 1), np.float16)
        if spectrum is None or len(spectrum) < 8:
            rows = np.zeros((0, 37), np.uint8)
            return StoredPitches(rows, empty, 0.0, 1.0, "too short, or no spectrum")
        rows = self.model.pitches(spectrum)
        track = PitchTrack(rows)
        if track.problem:
            return StoredPitches(rows, empty, 0.0, 1.0, track.problem)
        with threadpool_limits(1, user_api="blas"):
            return StoredPitches(
                rows, self.model.summaries(rows), *usual_scores(track, self.cohort)
            )

    def bring_up_to_date(
        self, tracks: Iterable[Track], *, on_track: OnProgress | None = None
    ) -> None:
        """Make and store what is missing of some tracks; a killed run loses at most a few."""
        known = self.store.hashes()
        missing = {track.sha256: track for track in tracks if track.sha256 not in known}
        files = self.workspace.catalogue.files() if missing else {}
        made: list[tuple[str, StoredPitches]] = []
        for n_done, (sha256, track) in enumerate(sorted(missing.items()), start=1):
            spectrum = read_track_spectrum(self.workspace.catalogue, sha256, files.get(track.id))
            made.append((sha256, self.made_of(spectrum)))
            if len(made) == _STORED_AT_ONCE or n_done == len(missing):
                self.store.put(made)
                made = []
            if on_track is not None:
                on_track(n_done, len(missing))

    def _stored(self, sha256: str) -> StoredPitches:
        kept = self.store.get(sha256)
        if kept is not None:
            return kept
        return self.made_of(read_track_spectrum(self.workspace.catalogue, sha256, None))

    def _track(self, sha256: str) -> PitchTrack:
        return PitchTrack(self.stored(sha256).pitches)

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def usual_scores(track: PitchTrack, cohort: Sequence[PitchTrack]) -> tuple[float, float]:
    """Return mean and spread of the sums of a track with the cohort, without the two highest.

    The cohort might hold a version of it.
    """
    raw = np.sort(raw_scores(track, cohort)[0])
    raw = raw[: max(1, len(raw) - 2)]
    return float(raw.mean()), max(float(raw.std()), _LEAST_SPREAD)


def normalised(raw: np.ndarray, a: StoredPitches, others: Sequence[StoredPitches]) -> np.ndarray:
    """Return sums against those of both tracks with the cohort, (n,) float64."""
    mean = np.array([other.mean for other in others])
    spread = np.array([other.spread for other in others])
    return 0.5 * ((raw - a.mean) / a.spread + (raw - mean) / spread)


def open_rates(model_id: str, directories: Sequence[Path]) -> RunThreshold | None:
    """Return the calibration of the composition match, None where there is none."""
    try:
        return RunThreshold(
            model_id, directories, scorer=SCORER_ID, options=ThresholdOptions(), lowest=0.0
        )
    except ThresholdError:
        return None


@dataclasses.dataclass(frozen=True)
class _Scored:
    a: str
    b: str
    score: float


def search_catalogue(
    reader: CompositionReader,
    tracks: Sequence[Track],
    *,
    known: Callable[[str, str], bool],
    rates: RunThreshold | None,
    max_chance_share: float = MAX_CHANCE_SHARE,
    on_pair: OnProgress | None = None,
) -> Compositions:
    """Return the list of pairs of a catalogue that may be one piece of music.

    Parameters
    ----------
    reader : CompositionReader
        Brought up to date.
    tracks : sequence of Track
        One of each content.
    known : callable
        Says of two ids whether they are one recording; such pairs are left out.
    rates : RunThreshold or None
        See ``open_rates``.
    max_chance_share : float
    on_pair : callable, optional
        Called with the pairs aligned and all of them.
    """
    by_hash = {track.sha256: track for track in sorted(tracks, key=lambda t: t.id)}
    comparable, excluded = _comparable(reader, by_hash)
    hashes = [sha256 for sha256, _ in comparable]
    rows, scores = _aligned(reader, comparable, on_pair=on_pair)
    found = []
    for (i, j), score in zip(rows.tolist(), scores, strict=True):
        first, second = sorted((by_hash[hashes[i]].id, by_hash[hashes[j]].id))
        found.append(_Scored(first, second, score))
    n_done = len(found)
    found = [pair for pair in found if not known(pair.a, pair.b)]
    n_pairs = len(hashes) * (len(hashes) - 1) // 2
    ranked = _ranked(found, n_pairs, rates, max_chance_share)
    by_id = {track.id: track.sha256 for track in by_hash.values()}
    return Compositions(
        tuple(
            _with_evidence(reader.track(by_id[match.a]), reader.track(by_id[match.b]), match)
            for match in ranked
        ),
        max_chance_share,
        n_pairs,
        n_done,
        reader.model.id,
        _source(rates),
        excluded,
        _note(rates),
    )


@dataclasses.dataclass(frozen=True)
class ComparableTracks:
    """What of a catalogue a track can be compared with.

    Attributes
    ----------
    contents : list of (str, numpy.ndarray)
        Hashes and summaries.
    id_of : dict
        Ids by hash.
    note : str
        That some tracks are not among them yet; else empty.
    """

    contents: list[tuple[str, np.ndarray]]
    id_of: dict[str, str]
    note: str


def comparable_tracks(reader: CompositionReader, table: TrackTable) -> ComparableTracks:
    """Return what of a catalogue can be compared; the table has one track of each content."""
    id_of = {digest.decode(): table.tracks.id_of(row) for row, digest in enumerate(table.hashes)}
    rows = [row for row in reader.store.rows() if row[0] in id_of]
    note = ""
    if len(rows) < len(id_of):
        note = (
            "Some tracks of the catalogue were not compared as compositions: their pitches are not "
            "stored yet. Run: audit scan"
        )
    contents = [(sha256, summaries) for sha256, problem, summaries in rows if not problem]
    return ComparableTracks(contents, id_of, note)


def search_submissions(
    reader: CompositionReader,
    submissions: Sequence[Submission],
    table: TrackTable,
    *,
    known: Callable[[str, str], bool],
    rates: RunThreshold | None,
    max_chance_share: float = MAX_CHANCE_SHARE,
) -> Compositions:
    """Return, of each submission, the tracks of a catalogue that may be the same piece.

    Parameters
    ----------
    reader : CompositionReader
    submissions : sequence of Submission
    table : TrackTable
        One track of each content.
    known, rates, max_chance_share
        As in ``search_catalogue``; the share is that of each submission's own list.
    """
    tracks = comparable_tracks(reader, table)
    lists, excluded = [], []
    for submission in submissions:
        track_id, sha256 = submission.track.id, submission.track.sha256
        own = reader.store.get(sha256) or reader.made_of(submission.spectrum)
        if own.problem:
            excluded.append(NotComparable(track_id, own.problem))
        else:
            query = track_id, sha256, own
            lists.append(
                search_track(
                    reader,
                    query,
                    tracks,
                    known=known,
                    rates=rates,
                    max_chance_share=max_chance_share,
                    n_listed=3,
                )
            )
    return Compositions(
        tuple(match for each in lists for match in each.matches),
        max_chance_share,
        sum(each.n_pairs for each in lists),
        sum(each.n_compared for each in lists),
        reader.model.id,
        _source(rates),
        tuple(excluded),
        _note(rates, tracks.note),
    )


def search_track(
    reader: CompositionReader,
    query: tuple[str, str, StoredPitches],
    tracks: ComparableTracks,
    *,
    known: Callable[[str, str], bool],
    rates: RunThreshold | None,
    max_chance_share: float,
    n_listed: int,
) -> Compositions:
    """Return the tracks of a catalogue that may be the same piece as one track.

    Parameters
    ----------
    reader : CompositionReader
    query : tuple of str, str and StoredPitches
        Id, hash of the content, and what is kept of it.
    tracks : ComparableTracks
    known, rates, max_chance_share
        As in ``search_catalogue``.
    n_listed : int
        Lines that are kept where fewer are flagged.
    """
    track_id, own_hash, own = query
    others = [content for content in tracks.contents if content[0] != own_hash]
    hashes = [sha256 for sha256, _ in others]
    if len(others) > MAX_EXHAUSTIVE:
        hashes = nearest_contents(own.summaries, others, top=N_CANDIDATES)
    scored = [
        _Scored(track_id, tracks.id_of[sha256], score)
        for sha256, score in zip(hashes, _scores(reader, own, hashes), strict=True)
        if not known(track_id, tracks.id_of[sha256])
    ]
    ranked = _ranked(scored, len(others), rates, max_chance_share, n_listed=n_listed)
    hash_of = {tracks.id_of[sha256]: sha256 for sha256 in hashes}
    view = PitchTrack(own.pitches)
    return Compositions(
        tuple(_with_evidence(view, reader.track(hash_of[match.b]), match) for match in ranked),
        max_chance_share,
        len(others),
        len(hashes),
        reader.model.id,
        _source(rates),
        note=_note(rates, tracks.note),
    )


def _aligned(
    reader: CompositionReader,
    comparable: Sequence[tuple[str, np.ndarray]],
    *,
    on_pair: OnProgress | None,
) -> tuple[np.ndarray, list[float]]:
    """Return the candidates of a catalogue and their scores; what is remembered is not aligned.

    Parameters
    ----------
    reader : CompositionReader
    comparable : sequence of (str, numpy.ndarray)
        Hashes and summaries, by hash.
    on_pair : callable, optional
        Called with the pairs aligned and all that are to be.

    Returns
    -------
    tuple of numpy.ndarray and list of float
        (n_pairs, 2) int64, places in ``comparable``, the lower one first; a score of each.
    """
    hashes = [sha256 for sha256, _ in comparable]
    with AlignedPairs.opened(
        reader.workspace.directory, reader.model.id, writable=reader.workspace.writable
    ) as remembered:
        # The summaries follow from the pitches: they stand for what is stored of a content.
        sides = {sha256: sha256.encode() + rows.tobytes() for sha256, rows in comparable}
        keys = PairKeys(f"{SCORER_ID}|{reader.model.id}", sides)
        state = keys.catalogue(N_CANDIDATES, MAX_EXHAUSTIVE)
        rows = remembered.candidates(state, len(hashes))
        if rows is None:
            rows = _candidates(comparable)
            remembered.keep_candidates(state, rows)
        its_keys = [keys(hashes[i], hashes[j]) for i, j in rows.tolist()]
        known = remembered.look_up(its_keys)
        wanted: dict[int, list[int]] = {}
        for place, score in enumerate(known):
            if score is None:
                wanted.setdefault(int(rows[place, 0]), []).append(place)
        n_all, n_done = sum(map(len, wanted.values())), 0
        for i, places in wanted.items():
            others = [hashes[j] for j in rows[places, 1].tolist()]
            scores = _scores(reader, reader.stored(hashes[i]), others)
            for place, score in zip(places, scores, strict=True):
                known[place] = score
            remembered.add([its_keys[place] for place in places], scores)
            n_done += len(places)
            if on_pair is not None:
                on_pair(n_done, n_all)
        remembered.trim(its_keys)
    return rows, [score for score in known if score is not None]


def _candidates(comparable: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Return the pairs of a catalogue that are aligned, (n_pairs, 2) int64, in order."""
    n = len(comparable)
    if n <= MAX_EXHAUSTIVE:
        return np.stack(np.triu_indices(n, 1), axis=1)
    place_of = {sha256: place for place, (sha256, _) in enumerate(comparable)}
    n_dims = int(np.median([rows.shape[1] for _, rows in comparable]))
    known = Summaries(comparable, n_dims)
    pairs = set()
    for place, (_, summaries) in enumerate(comparable):
        for near in known.nearest(summaries, top=N_CANDIDATES + 1):
            if place_of[near] != place:
                pairs.add((min(place, place_of[near]), max(place, place_of[near])))
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def _comparable(
    reader: CompositionReader, by_hash: Mapping[str, Track]
) -> tuple[list[tuple[str, np.ndarray]], tuple[NotComparable, ...]]:
    """Return the contents that can be compared with their summaries, and the others."""
    comparable, problems = [], dict.fromkeys(by_hash, "its row is damaged")
    for sha256, problem, summaries in reader.store.rows():
        if sha256 in problems:
            problems[sha256] = problem
            if not problem:
                comparable.append((sha256, summaries))
    excluded = [NotComparable(by_hash[h].id, problem) for h, problem in problems.items() if problem]
    return comparable, tuple(sorted(excluded, key=lambda each: each.track))


def scores_with(
    a: StoredPitches, others: Sequence[StoredPitches], views: Sequence[PitchTrack]
) -> list[float]:
    """Return the scores of a track with others, which are given as kept and as compared."""
    if not others:
        return []
    with threadpool_limits(1, user_api="blas"):
        raw, _ = raw_scores(PitchTrack(a.pitches), views)
    return [score_of(float(z)) for z in normalised(raw, a, others)]


def _scores(reader: CompositionReader, a: StoredPitches, hashes: Sequence[str]) -> list[float]:
    return scores_with(a, [reader.stored(h) for h in hashes], [reader.track(h) for h in hashes])


def _ranked(
    found: list[_Scored],
    n_pairs: int,
    rates: RunThreshold | None,
    max_chance_share: float,
    *,
    n_listed: int = N_LISTED,
) -> list[CompositionMatch]:
    """Return the pairs best first, each with how much of the list down to it is chance."""
    found = sorted(found, key=lambda pair: (-pair.score, pair.a, pair.b))
    ranked: list[CompositionMatch] = []
    for rank, pair in enumerate(found, start=1):
        far = low = high = None
        expected = share = share_low = share_high = None
        if rates is not None and rates.calibration is not None:
            far, low, high = rates.calibration.far_at(pair.score)
            expected = far * n_pairs
            share = min(1.0, expected / rank)
            share_low = min(share, poisson_quantile(0.025, low * n_pairs) / rank)
            share_high = min(1.0, max(share, poisson_quantile(0.975, high * n_pairs) / rank))
            if expected > max(MAX_LISTED_SHARE, max_chance_share) * len(found):
                break  # no line further down can fall below
        elif rank > n_listed:
            break
        ranked.append(
            CompositionMatch(
                pair.a,
                pair.b,
                pair.score,
                verdict="",
                flagged=_may_flag(far, share, max_chance_share),
                far=far,
                expected_by_chance=expected,
                chance_share=share,
                chance_share_low=share_low,
                chance_share_high=share_high,
            )
        )
    # Chance may fall again further down the list: a line is flagged if any line below it is.
    n_flagged = max((k for k, match in enumerate(ranked, start=1) if match.flagged), default=0)
    likely = [k for k, m in enumerate(ranked, 1) if (m.chance_share or 0.0) <= MAX_LISTED_SHARE]
    n_kept = max(n_flagged, min(n_listed, max(likely, default=0)))
    return [
        dataclasses.replace(
            match,
            flagged=k < n_flagged,
            far=floor_rate(match.far),
            expected_by_chance=floor_rate(match.expected_by_chance),
            chance_share=floor_rate(match.chance_share),
            chance_share_high=floor_rate(match.chance_share_high),
        )
        for k, match in enumerate(ranked[:n_kept])
    ]


def _may_flag(far: float | None, share: float | None, max_chance_share: float) -> bool:
    if far is None or share is None:
        return False
    return far <= LOOSEST_FAR and share <= max_chance_share


def _with_evidence(a: PitchTrack, b: PitchTrack, match: CompositionMatch) -> CompositionMatch:
    """Return a line with its passage, agreement, lines and verdict."""
    alignment = align(a, b)
    if alignment is None:
        return dataclasses.replace(match, flagged=False, verdict=CompositionVerdict.SAME_CHORDS)
    said = agreement(a, b, alignment)
    verdict = _verdict(a, b, said, match.score)
    return dataclasses.replace(
        match,
        **dataclasses.asdict(said),
        verdict=verdict.value,
        flagged=match.flagged and verdict is CompositionVerdict.SAME_COMPOSITION,
        **vars(lines_of(a, b, alignment)),
    )


def _verdict(a: PitchTrack, b: PitchTrack, said: Agreement, score: float) -> CompositionVerdict:
    if min(a.repetition, b.repetition) >= MIN_REPETITION:
        return CompositionVerdict.COMMON_FIGURE
    neither = said.harmony < MIN_HARMONY and score >= MIN_SCORE_OF_NEITHER
    if said.melody < MIN_MELODY and not neither:
        return CompositionVerdict.SAME_CHORDS
    return CompositionVerdict.SAME_COMPOSITION


def _source(rates: RunThreshold | None) -> str:
    if rates is None or rates.calibration is None:
        return ""
    return rates.choose().source


def _note(rates: RunThreshold | None, further: str = "") -> str:
    if rates is None:
        unknown = (
            "No rate is known for the composition match, so nothing is flagged. "
            "Run: audit calibrate --score composition"
        )
        return f"{unknown} {further}".rstrip()
    return further


class Scorer:
    """See ``scoring.base.Scorer``; used by ``audit calibrate --score composition``.

    Parameters
    ----------
    workspace : Workspace
    """

    id: ClassVar[str] = SCORER_ID
    lowest: ClassVar[float] = 0.0
    similarity: ClassVar[str] = ""
    max_calibrated: ClassVar[int | None] = 1500
    asks_wide: ClassVar[bool] = False

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @property
    def weights_id(self) -> str:
        """See ``scoring.base.Scorer``: that of the pitch model."""
        return self._reader.model.id

    @staticmethod
    def fits(extractor: Extractor) -> bool:
        """Say that any extractor will do: pitches come from the stored spectrum."""
        return True

    def scan(
        self,
        ids: list[str],
        embeddings: np.ndarray,
        tracks: Mapping[str, Track],
        *,
        run: RunContext,
        tiles: Tiles,
        on_pair: OnProgress | None = None,
    ) -> ScoringResult:
        """Compositions have a list of their own (``search_catalogue``), not pairs of recordings."""
        raise UsageError("compositions are compared beside recordings. Give --compositions.")

    def check(
        self,
        submissions: Sequence[Submission],
        table: TrackTable,
        tracks: Mapping[str, Track],
        *,
        run: RunContext,
    ) -> ScoringResult:
        """See ``scan``."""
        raise UsageError("compositions are compared beside recordings. Give --compositions.")

    def pair(self, a: Side, b: Side) -> ScoredPair:
        """See ``scoring.base.Scorer``; a side without pitched music scores -1."""
        mine, other = self._of_side(a), self._of_side(b)
        if mine.problem or other.problem:
            return ScoredPair(a.id, b.id, -1.0, None, -1.0)
        (score,) = scores_with(mine, [other], [PitchTrack(other.pitches)])
        return ScoredPair(a.id, b.id, -1.0, None, score)

    def _of_side(self, side: Side) -> StoredPitches:
        if side.sha256:
            return self._reader.stored(side.sha256)
        return self._reader.made_of(None if side.spectrum is None else side.spectrum.frames)

    def judge(self, pair: ScoredPair, tracks: Mapping[str, Track], run: RunContext) -> Pair:
        """See ``scoring.base.Scorer``."""
        return Pair(pair.a, pair.b, pair.score, flagged=False, verdict=Verdict.CLEAR)

    def side(self, track_id: str) -> Side:
        """See ``scoring.base.Scorer``."""
        track = self._workspace.catalogue.track(track_id)
        return Side(
            track_id, track.sha256, track.duration_s, windows=lambda: None, frames=lambda: None
        )

    def side_of_copy(
        self, copy: TrackEmbedding, *, duration_s: float, spectrum: np.ndarray | None
    ) -> Side:
        """See ``scoring.base.Scorer``."""
        return Side("", "", duration_s, windows=lambda: None, frames=lambda: spectrum)

    def matrix(
        self, ids: Sequence[str], *, on_pair: OnProgress | None = None
    ) -> tuple[np.ndarray, dict[tuple[str, str], Evidence]]:
        """See ``scoring.base.Scorer``; tracks without pitched music score -1 with all others."""
        tracks = [self._workspace.catalogue.track(track_id) for track_id in ids]
        if self._workspace.writable:
            self._reader.bring_up_to_date(tracks)
        stored = [self._reader.stored(track.sha256) for track in tracks]
        usable = [k for k, each in enumerate(stored) if not each.problem]
        views = [PitchTrack(each.pitches) for each in stored]
        n, n_done = len(ids), 0
        scores = np.full((n, n), -1.0)
        np.fill_diagonal(scores, 1.0)
        for place, i in enumerate(usable):
            others = usable[place + 1 :]
            scores[i, others] = scores[others, i] = scores_with(
                stored[i], [stored[j] for j in others], [views[j] for j in others]
            )
            n_done += n - 1 - i
            if on_pair is not None:
                on_pair(min(n_done, n * (n - 1) // 2), n * (n - 1) // 2)
        return scores, {}

    @functools.cached_property
    def _reader(self) -> CompositionReader:
        return CompositionReader(self._workspace)
