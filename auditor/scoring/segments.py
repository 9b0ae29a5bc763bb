"""What generated tracks repeat of two sides of a catalogue, segment by segment.

An output of a model may hold ten seconds of one training track and five of another one.  So it is
cut into segments that overlap by half, and each segment asks the excerpt index of either side for
candidates of its own and is aligned with them, as a part of a mix is (``scoring.timeline``).  Both
sides have the same number of candidates and the same threshold.  Ranges of one track that go on in
the next segment are joined, and their ends are measured again in the spectra of the whole output.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from auditor.embedding.config import SPECTRUM
from auditor.errors import DamagedTrackError
from auditor.evidence.alignment.ranges import gather_evidence
from auditor.evidence.match_score import CLEAR_CORRELATION
from auditor.evidence.spectra.confirm import measured_again
from auditor.evidence.spectra.lines import TrackSpectrum
from auditor.parallel import OnProgress, Tiles
from auditor.records import MatchedRange
from auditor.scoring.base import ScoredPair
from auditor.scoring.spectral_candidates import (
    ASK_STEP,
    N_SLICES,
    SLICE,
    AskingTrack,
    describe_blocks,
    spectral_hits,
    spectral_tracks,
)
from auditor.scoring.timeline import (
    cut_part,
    distinct_lines,
    join_ranges,
    part_matches,
    part_side,
    part_windows,
)
from auditor.scoring.track_reader import TrackReader
from auditor.search.across import unpack_mask
from auditor.search.excerpts.index import ExcerptSearch
from auditor.search.excerpts.votes import Hits
from auditor.serialisation import from_json, to_json

SEGMENT_S, STEP_S = 10.0, 5.0
"""Length of a segment, and from one to the next: every five seconds lie whole in one of them."""

N_SEGMENT = 8
"""Candidates of a segment on each side."""

MIN_REPEAT_S = 3.0
"""Shorter passages are left out: single notes agree by chance."""

MIN_BRIEF_S = 2.0
"""The same where passages of seconds are looked for, whose ends are cut where spectra differ."""

MAX_HOLE_S = 2.5
"""Seconds without a match over which one passage goes on."""

TILE_OUTPUTS, TILE_WIDE = 8, 64
"""Outputs of one tile, and of one that describes the blocks of all other tracks first."""


@dataclass(frozen=True)
class SegmentedTrack:
    """A track that is compared segment by segment.

    Attributes
    ----------
    id : str
        Left out of both sides; empty for a track that is not in the catalogue.
    duration_s : float
    dvectors, levels : numpy.ndarray
        (n, n_dims) and (n,).
    spectrum : numpy.ndarray or None
        (n_frames, n_bands) uint8.
    """

    id: str
    duration_s: float
    dvectors: np.ndarray
    levels: np.ndarray
    spectrum: np.ndarray | None


@dataclass(frozen=True)
class RepeatedRanges:
    """The ranges of one track of one side that an output repeats, by time.

    Attributes
    ----------
    output, track : str
        Ids; ``a`` of the ranges is the output.
    side : int
        Place of the side.
    ranges : tuple of MatchedRange
    """

    output: str
    track: str
    side: int
    ranges: tuple[MatchedRange, ...]


@dataclass(frozen=True)
class SegmentsResult:
    """What some outputs repeat.

    Attributes
    ----------
    found : tuple of RepeatedRanges
        By output, side and track.
    n_segments : dict of str to int
        Of each output.
    n_examined : int
        Pairs of a segment and a track that were aligned.
    damaged : dict of str to str
        Tracks whose stored rows are damaged, and what is wrong.
    """

    found: tuple[RepeatedRanges, ...] = ()
    n_segments: dict[str, int] = field(default_factory=dict)
    n_examined: int = 0
    damaged: dict[str, str] = field(default_factory=dict)


def segment_spans(duration_s: float, hop_s: float) -> list[tuple[float, float]]:
    """Return start and end of each segment of a track, in seconds; the last one ends with it.

    Segments begin with a window.

    Examples
    --------
    >>> segment_spans(8.0, 0.8), segment_spans(15.0, 0.8)
    ([(0.0, 8.0)], [(0.0, 10.0), (4.8, 15.0)])
    """
    n = 1 + max(0, math.ceil((duration_s - SEGMENT_S) / STEP_S - 1e-6))
    spans = []
    for i in range(n):
        wanted_s = min(i * STEP_S, max(0.0, duration_s - SEGMENT_S))
        start_s = math.floor(wanted_s / hop_s + 1e-6) * hop_s
        spans.append((round(start_s, 3), min(i * STEP_S + SEGMENT_S, duration_s)))
    return spans


def count_segments(duration_s: float) -> int:
    """Return how many segments a track has.

    Examples
    --------
    >>> count_segments(8.0), count_segments(15.0), count_segments(30.0)
    (1, 2, 5)
    """
    return len(segment_spans(duration_s, 1.0))


def search_segments(
    reader: TrackReader,
    track: SegmentedTrack,
    sides: Sequence[bytes],
    *,
    threshold: float,
    by_spectra: Sequence[Hits] = (),
) -> SegmentsResult:
    """Return what a track repeats of each side of a catalogue.

    Parameters
    ----------
    reader : TrackReader
    track : SegmentedTrack
    sides : sequence of bytes
        A bit for each row of the catalogue (``search.across.TwoSides``).
    threshold : float
        Match score that a passage must reach in one of its segments.
    by_spectra : sequence of Hits
        What ``spectral_candidates.spectral_hits`` found on each side: then it proposes candidates,
        too, and passages of seconds are looked for (``evidence.spectra.brief``).
    """
    spans = segment_spans(track.duration_s, reader.hop_s)
    grid = {"hop_s": reader.hop_s, "window_s": reader.window_s}
    content = (track.dvectors, track.levels, track.spectrum)
    parts = [cut_part(content, span, duration_s=track.duration_s, **grid) for span in spans]
    brief_cost, min_s = (0.0, MIN_BRIEF_S) if by_spectra else (None, MIN_REPEAT_S)
    segments = [part_side(part, reader, brief_cost=brief_cost) for part in parts]
    frames = track.spectrum
    whole = None if frames is None else TrackSpectrum(frames, track.duration_s)
    found: list[RepeatedRanges] = []
    damaged: dict[str, str] = {}
    n_examined = 0
    for place, side in enumerate(sides):
        asking: dict[str, list[int]] = defaultdict(list)
        for i, track_ids in enumerate(_candidates(reader, track, spans, side)):
            for track_id in track_ids:
                asking[track_id].append(i)
        for i, track_ids in enumerate(_by_spectra(reader, by_spectra[place : place + 1], spans)):
            for track_id in track_ids:
                if i not in asking[track_id]:
                    asking[track_id].append(i)
        for track_id, at in sorted(asking.items()):
            try:
                other = reader.side(track_id)
                n_examined += len(at)
                ranges = [
                    one
                    for i in sorted(at)
                    for one in part_matches(segments[i], parts[i], reader, other, threshold)
                ]
                joined = join_ranges(
                    ranges, threshold=threshold, min_s=min_s, max_hole_s=MAX_HOLE_S
                )
                kept = distinct_lines(joined)
                if whole is not None and other.spectrum is not None:
                    kept = [_measured(one, whole, other.spectrum) for one in kept]
            except DamagedTrackError as error:
                damaged[error.track_id] = str(error)
                continue
            if kept:
                kept.sort(key=lambda one: (one.a_start_s, one.b_start_s))
                found.append(RepeatedRanges(track.id, track_id, place, tuple(kept)))
    return SegmentsResult(tuple(found), {track.id: len(spans)}, n_examined, damaged)


def _measured(found: MatchedRange, a: TrackSpectrum, b: TrackSpectrum) -> MatchedRange:
    """Return a passage with tempo, pitch and ends by the spectra of both tracks, if they agree."""
    again = measured_again(found, a, b)
    agrees = (again.correlation or 0.0) >= CLEAR_CORRELATION
    if agrees and again.a_end_s - again.a_start_s >= MIN_REPEAT_S:
        return dataclasses.replace(again, match_score=found.match_score)
    return found


def _candidates(
    reader: TrackReader, track: SegmentedTrack, spans: Sequence[tuple[float, float]], side: bytes
) -> list[list[str]]:
    """Return the tracks of a side that each segment votes for; every window asks once."""
    among = reader.excerpts_among(side)
    hits = among.hits(
        track.dvectors,
        levels=track.levels,
        exclude=track.id or None,
        search=ExcerptSearch(top=N_SEGMENT),
    )
    n_windows = len(track.dvectors)
    found = []
    for span in spans:
        first, last = part_windows(
            span, n_windows, track.duration_s, hop_s=reader.hop_s, window_s=reader.window_s
        )
        own = hits.take((hits.queries >= first) & (hits.queries < last))
        own = own._replace(queries=own.queries - first)
        found.append([one.track_id for one in among.voted(own, top=N_SEGMENT)])
    return [sorted({*ids, *among.uncovered}) for ids in found]


def _by_spectra(
    reader: TrackReader, hits: Sequence[Hits], spans: Sequence[tuple[float, float]]
) -> list[list[str]]:
    """Return the tracks of a side that the blocks of each segment vote for."""
    id_of = reader.excerpts()[0].tracks.id_of
    found = []
    for start_s, end_s in spans if hits else ():
        first, last = (s / SPECTRUM.frame_hop_s for s in (start_s, end_s))
        frames = hits[0].queries * ASK_STEP
        own = hits[0].take((frames >= first) & (frames + SLICE * N_SLICES <= last))
        rows = spectral_tracks(own, top=N_SEGMENT) if len(own.queries) else []
        found.append([id_of(row) for row in rows])
    return found


def side_rows(reader: TrackReader, side: bytes) -> np.ndarray:
    """Return the rows of a side, (n,) int64."""
    return np.flatnonzero(unpack_mask(side, len(reader.excerpts()[0].tracks)))


def asking_track(reader: TrackReader, track: SegmentedTrack) -> AskingTrack:
    """Return a track all of whose blocks ask."""
    row = reader.excerpts()[0].tracks.row_of(track.id) if track.id else -1
    frames = np.zeros((0, SPECTRUM.n_bands), np.uint8) if track.spectrum is None else track.spectrum
    spectrum = TrackSpectrum(frames, track.duration_s)
    return AskingTrack.of(spectrum, row, n_asking=max(1, len(frames)))


@dataclass(frozen=True)
class SegmentTile:
    """Compares some outputs with both sides of a catalogue.

    Attributes
    ----------
    reader : TrackReader
    sides : tuple of bytes
    threshold : float
    wide : bool
        Look for passages of seconds, too.
    """

    reader: TrackReader
    sides: tuple[bytes, ...]
    threshold: float
    wide: bool = False
    shares_memory: ClassVar[bool] = False

    def __call__(self, part: Sequence[str]) -> SegmentsResult:
        """Return what the outputs of these ids repeat."""
        results = []
        with threadpool_limits(1, user_api="blas"):  # products of a pair are too small to share
            tracks = []
            for output in part:
                try:
                    dvectors, levels = self.reader.dvectors(output)
                    duration_s = self.reader.content(output).duration_s
                    spectrum = self.reader.spectrum(output)
                    tracks.append(SegmentedTrack(output, duration_s, dvectors, levels, spectrum))
                except DamagedTrackError as error:
                    results.append(SegmentsResult(damaged={error.track_id: str(error)}))
            hits: list[list[Hits]] = []  # of each side, of each output
            if self.wide:
                asking = [asking_track(self.reader, track) for track in tracks]
                for side in self.sides:
                    others = describe_blocks(self.reader, side_rows(self.reader, side))
                    hits.append(spectral_hits(asking, others))
            for n, track in enumerate(tracks):
                by_spectra = [of_side[n] for of_side in hits]
                results.append(
                    search_segments(
                        self.reader,
                        track,
                        self.sides,
                        threshold=self.threshold,
                        by_spectra=by_spectra,
                    )
                )
        return merge_results(results)

    def pack(self, result: SegmentsResult) -> bytes:
        """Return a result as JSON."""
        return json.dumps(to_json(result), allow_nan=False).encode()

    def unpack(self, data: bytes) -> SegmentsResult:
        """Return the result of which ``pack`` made these bytes."""
        return from_json(SegmentsResult, json.loads(data), where="segments")


def merge_results(parts: Sequence[SegmentsResult]) -> SegmentsResult:
    """Return several results as one."""
    n_segments: dict[str, int] = {}
    damaged: dict[str, str] = {}
    for part in parts:
        n_segments |= part.n_segments
        damaged |= part.damaged
    return SegmentsResult(
        tuple(one for part in parts for one in part.found),
        n_segments,
        sum(part.n_examined for part in parts),
        damaged,
    )


def search_outputs(
    tiles: Tiles,
    reader: TrackReader,
    outputs: Sequence[str],
    sides: tuple[bytes, ...],
    *,
    threshold: float,
    wide: bool = False,
    on_output: OnProgress | None = None,
) -> SegmentsResult:
    """Return what outputs of a catalogue repeat of each of its sides.

    Parameters
    ----------
    tiles : Tiles
    reader : TrackReader
        What ``Tiles.publish`` returned.
    outputs : sequence of str
        Ids, one of each content.
    sides, threshold
        As for ``search_segments``.
    wide : bool
        Look for passages of seconds, too.
    on_output : callable, optional
        Called with the outputs done and all of them.
    """
    size = TILE_WIDE if wide else TILE_OUTPUTS
    parts = [outputs[i : i + size] for i in range(0, len(outputs), size)]
    if on_output is not None and outputs:
        on_output(0, len(outputs))
    results = []
    for found in tiles.map(SegmentTile(reader, sides, threshold, wide), parts):
        results.append(found)
        if on_output is not None:
            on_output(min(len(results) * size, len(outputs)), len(outputs))
    return merge_results(results)


def scored_pair(found: RepeatedRanges, *, a_s: float, b_s: float) -> ScoredPair:
    """Return an output and a track as a pair, with all its ranges, best first.

    Parameters
    ----------
    found : RepeatedRanges
    a_s, b_s : float
        Lengths of both in seconds.
    """
    ranges = sorted(found.ranges, key=lambda one: (-(one.match_score or 0.0), one.a_start_s))
    score = max(one.match_score or 0.0 for one in ranges)
    evidence = gather_evidence(
        max(one.score for one in ranges), ranges, a_s=a_s, b_s=b_s, background=0.0
    )
    return ScoredPair(found.output, found.track, -1.0, evidence, score)
