"""The examination of candidate pairs: evidence, spectra, the match score; in tiles or one by one.

Whatever proposed a pair, this alone says what both tracks share (``auditor.scoring.match``).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from auditor.errors import DamagedTrackError
from auditor.evidence.alignment.aligner import Examiner
from auditor.evidence.match_score import MIN_SCORE_TO_CONFIRM, MIN_SCORE_TO_SHOW, match_score
from auditor.evidence.side import Side, compare_sides
from auditor.parallel import OnProgress, Tiles
from auditor.scoring.base import ScoredPair
from auditor.scoring.examined import ExaminedPairs
from auditor.scoring.track_reader import TrackReader
from auditor.search.exact import histogram_edges, named_histogram
from auditor.serialisation import from_json, to_json

TILE_PAIRS = 256
"""Candidate pairs of one tile: a second or two of work."""

N_LOOKED_UP = 50_000
"""Pairs that are looked up among the remembered ones at once, for memory's sake."""

_ALL = -2.0
"""No cosine is as low: every pair is kept, for the next scan."""

Candidate = tuple[str, str, float]
"""Ids of both tracks, and the cosine of their embeddings."""


@dataclass(frozen=True)
class Examination:
    """Candidates by falling score, how many there were, and how their scores are spread.

    Of candidates that are nothing but candidates, only the count and the score are kept.
    ``damaged`` has the ids of tracks whose stored rows are, so that they were not examined, and
    what is wrong with each.
    """

    pairs: tuple[ScoredPair, ...] = ()
    n_compared: int = 0
    histogram: dict[str, tuple[float, ...]] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """Which candidates are kept, and which of their ranges.

    Attributes
    ----------
    similar_from : float
        Cosine from which a pair is kept although nothing matches.
    shown_from : float
        Match score that a range needs to be kept.
    """

    similar_from: float = -1.0
    shown_from: float = MIN_SCORE_TO_SHOW


def examine_pairs(
    candidates: Iterable[Candidate],
    side: Callable[[str], Side],
    examiner: Examiner,
    *,
    limits: Limits,
) -> Examination:
    """Examine candidate pairs one after the other.

    Parameters
    ----------
    candidates : iterable of Candidate
    side : callable
        An id to that side of a pair.
    examiner : Examiner
    limits : Limits
    """
    pairs = []
    damaged: dict[str, str] = {}
    for a, b, similarity in candidates:
        try:
            evidence = compare_sides(examiner, side(a), side(b), shown_from=limits.shown_from)
        except DamagedTrackError as error:
            damaged[error.track_id] = str(error)
            continue
        pairs.append(ScoredPair(a, b, similarity, evidence, match_score(evidence)))
    return _kept(pairs, limits, damaged)


@dataclass(frozen=True)
class ExaminationTile:
    """Examines some candidate pairs of a catalogue; the ``tiles.Work`` of the last pass of a scan.

    Attributes
    ----------
    reader : TrackReader
    limits : Limits
    """

    reader: TrackReader
    limits: Limits
    shares_memory: ClassVar[bool] = False

    def __call__(self, part: Sequence[Candidate]) -> Examination:
        """Return what was found of some candidates."""
        return examine_pairs(part, self.reader.side, self.reader.examiner, limits=self.limits)

    def pack(self, result: Examination) -> bytes:
        """Return a result as JSON."""
        return json.dumps(to_json(result), allow_nan=False).encode()

    def unpack(self, data: bytes) -> Examination:
        """Return the result of which ``pack`` made these bytes."""
        return from_json(Examination, json.loads(data), where="examination")


def examine_tiles(
    tiles: Tiles,
    reader: TrackReader,
    candidates: Sequence[Candidate],
    *,
    limits: Limits,
    on_pair: OnProgress | None = None,
    examined: ExaminedPairs | None = None,
    keys: Sequence[bytes] = (),
) -> Examination:
    """Examine the candidate pairs of a catalogue, in tiles; those that are remembered are not.

    Parameters
    ----------
    tiles : Tiles
    reader : TrackReader
    candidates : sequence of Candidate
        Sorted, so that the tracks of one tile are few.
    limits : Limits
    on_pair : callable, optional
        Called with the candidates examined and all that are to be.
    examined : ExaminedPairs, optional
        What is known of earlier scans, and is to be known by later ones.
    keys : sequence of bytes
        One of each candidate, where there is ``examined``.
    """
    examined = examined or ExaminedPairs(None)
    remembered: list[Examination] = []
    unknown: list[Candidate] = []
    key_of: dict[tuple[str, str], bytes] = {}
    for start in range(0, len(candidates), N_LOOKED_UP):
        part = candidates[start : start + N_LOOKED_UP]
        its_keys = keys[start : start + N_LOOKED_UP]
        known = examined.look_up(its_keys) if its_keys else [None] * len(part)
        scored = []
        for place, ((a, b, similarity), evidence) in enumerate(zip(part, known, strict=True)):
            if evidence is not None:
                scored.append(ScoredPair(a, b, similarity, evidence, match_score(evidence)))
                continue
            unknown.append((a, b, similarity))
            if its_keys:
                key_of[a, b] = its_keys[place]
        remembered.append(_kept(scored, limits))
    parts = [unknown[i : i + TILE_PAIRS] for i in range(0, len(unknown), TILE_PAIRS)]
    work = ExaminationTile(reader, dataclasses.replace(limits, similar_from=_ALL))
    if on_pair is not None and unknown:
        on_pair(0, len(unknown))

    def results() -> Iterator[Examination]:
        yield from remembered
        n_done = 0
        for found in tiles.map(work, parts):
            seen = [pair for pair in found.pairs if pair.evidence and (pair.a, pair.b) in key_of]
            examined.add(
                [key_of[pair.a, pair.b] for pair in seen],
                [pair.evidence for pair in seen if pair.evidence],
            )
            n_done += found.n_compared
            if on_pair is not None:
                on_pair(n_done, len(unknown))
            yield _kept(found.pairs, limits, found.damaged)

    merged = merge_examinations(results())
    examined.trim(keys)
    return merged


def _kept(
    pairs: Iterable[ScoredPair], limits: Limits, damaged: Mapping[str, str] | None = None
) -> Examination:
    """Count pairs and their scores, and keep those that are more than candidates."""
    kept = []
    edges = histogram_edges()
    counts = np.zeros(len(edges) - 1)
    for pair in pairs:
        above = int(np.searchsorted(edges, pair.score, side="right"))
        counts[min(above - 1, len(counts) - 1)] += 1
        if pair.score >= MIN_SCORE_TO_CONFIRM or pair.similarity >= limits.similar_from:
            kept.append(pair)
    kept.sort(key=_by_score)
    return Examination(tuple(kept), int(counts.sum()), named_histogram(counts), dict(damaged or {}))


def merge_examinations(parts: Iterable[Examination]) -> Examination:
    """Return several examinations as one."""
    pairs: list[ScoredPair] = []
    counts = np.zeros(len(histogram_edges()) - 1)
    n_compared = 0
    damaged: dict[str, str] = {}
    for found in parts:
        pairs += found.pairs
        counts += found.histogram.get("counts", 0.0)
        n_compared += found.n_compared
        damaged |= found.damaged
    pairs.sort(key=_by_score)
    return Examination(tuple(pairs), n_compared, named_histogram(counts), damaged)


def _by_score(pair: ScoredPair) -> tuple[float, str, str]:
    return -pair.score, pair.a, pair.b
