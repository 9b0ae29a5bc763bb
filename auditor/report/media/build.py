"""Media of a result's pairs: clips, waveforms, similarity matrices and links.

The same result and the same files give the same media.  Reports show them
(``auditor.report.media.model``); a limit in bytes is spent on the pairs in order, so that those
worth hearing first get clips.
"""

from __future__ import annotations

import base64
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from auditor.audio.object_store import fetched
from auditor.embedding.pooling import audible_windows
from auditor.errors import AuditError
from auditor.records import CheckResult, Evidence, MatchedRange, Pair, ScanResult
from auditor.report.links import relative_link
from auditor.report.media.clips import (
    CLIP_LENGTHS_S,
    CLIP_MIME,
    CLIP_RATE_HZ,
    MAX_COMPOSITION_CLIP_S,
    N_PEAKS,
    DecodedTrack,
    Span,
    clip_bytes,
    clip_spans,
    listen,
)
from auditor.report.media.matrix_png import grey_png, similarity_pixels, span_s
from auditor.report.media.model import Clip, Media, PairMedia, TrackMedia
from auditor.report.text.compositions import matches_in_order

if TYPE_CHECKING:
    from auditor.ingest.submissions import Submission
    from auditor.workspace import Workspace

MAX_REPORT_BYTES = 25_000_000
"""Bytes of media, as they stand in a report, unless another limit is given."""

MAX_PAIRS = 500
"""Pairs that get media."""

MAX_COMPOSITIONS = 50
"""Lines of the list of compositions that get clips."""

MAX_RANGES = 3
"""Ranges of a pair that get clips, the best first."""

NO_AUDIO = "No clips: the report was made with --no-audio."
NO_RANGE = "No clips: no passage of one track matches the other."
BEYOND = f"No clips: only the first {MAX_PAIRS} pairs of a report have them."
SOME_RANGES = f"Only the first {MAX_RANGES} ranges have clips."

_PEAKS_BYTES = N_PEAKS * len("100, ")
_CLIPS, _MATRICES, _WAVEFORMS, _WINDOWS = "clips", "matrices", "waveforms", "windows"

Windows = Callable[[str], tuple[np.ndarray, np.ndarray]]
"""Takes a track id and returns d-vectors and levels, or raises ``AuditError``."""


@dataclass
class _Budget:
    """Bytes that are left, and how often each thing was left out."""

    left: int
    left_out: Counter[str] = field(default_factory=Counter)

    def take(self, n_bytes: int) -> bool:
        fits = n_bytes <= self.left
        self.left -= n_bytes if fits else 0
        return fits


def gather_media(
    workspace: Workspace,
    result: ScanResult | CheckResult,
    *,
    submissions: Sequence[Submission] = (),
    paths: Mapping[str, bytes] | None = None,
    folder: Path,
    max_bytes: int = MAX_REPORT_BYTES,
    audio: bool = True,
    on_pair: Callable[[int, int], None] | None = None,
) -> Media:
    """Make the media of a result from what its workspace holds, see ``make_media``.

    Parameters
    ----------
    workspace : Workspace
    result : ScanResult or CheckResult
    submissions : sequence of Submission
        Of a check.
    paths : mapping of str to bytes, optional
        Files of tracks that neither the workspace nor ``submissions`` has; these get no matrix.
    folder, max_bytes, audio, on_pair
        See ``make_media``.
    """
    catalogue, weights_id = workspace.catalogue, workspace.weights_id
    submitted = {s.track.id: s for s in submissions}

    def dvectors(track_id: str) -> tuple[np.ndarray, np.ndarray]:
        if track_id in submitted:
            return submitted[track_id].dvectors, submitted[track_id].levels
        return catalogue.dvectors(track_id, weights_id)

    of_submissions = {track_id: s.path for track_id, s in submitted.items()}
    others = dict(paths or {})
    return make_media(
        result,
        paths=catalogue.paths() | others | of_submissions,
        dvectors=dvectors,
        hop_s=workspace.hop_s,
        window_s=workspace.window_s,
        folder=folder,
        max_bytes=max_bytes,
        audio=audio,
        matrices=not others.keys() - submitted.keys(),
        on_pair=on_pair,
    )


def make_media(
    result: ScanResult | CheckResult,
    *,
    paths: Mapping[str, bytes],
    dvectors: Windows | None,
    hop_s: float,
    window_s: float,
    folder: Path,
    max_bytes: int = MAX_REPORT_BYTES,
    audio: bool = True,
    matrices: bool = True,
    on_pair: Callable[[int, int], None] | None = None,
) -> Media:
    """Make the media of a result's pairs: those flagged first, then those decided, then the rest.

    Of the rest only pairs with evidence get media, and of all of them the first ``MAX_PAIRS``;
    then the first ``MAX_COMPOSITIONS`` lines of the compositions get clips.
    Files that cannot be read, and what does not fit into the limit, are left out and counted in
    the notes.

    Parameters
    ----------
    result : ScanResult or CheckResult
    paths : mapping of str to bytes
        By track id, where the file or object lies; ids may be absent.  No link leads to an object.
    dvectors : callable or None
        Takes a track id and returns its (n_windows, n_dims) float unit d-vectors and (n_windows,)
        levels in dB, or raises ``AuditError``; no matrices without.
    hop_s, window_s : float
        Step between windows, and their length, in seconds.
    folder : Path
        Where the report will lie; links lead from there.
    max_bytes : int
        Most bytes of clips, matrices (both in base64) and peaks, all together.
    audio, matrices : bool
        Whether to make clips, and matrices.
    on_pair : callable, optional
        Called with the number of pairs that are done and that of all that get media.

    Returns
    -------
    Media
        A pair without clips says why.

    Raises
    ------
    ValueError
        If ``max_bytes`` is negative, or ``hop_s`` or ``window_s`` is not above 0.
    """
    if max_bytes < 0 or not (hop_s > 0 and window_s > 0):
        raise ValueError(
            f"max_bytes is {max_bytes}, hop_s {hop_s}, window_s {window_s}; at least 0, above 0 "
            "and above 0 is needed"
        )
    worth = _worth_media(result.pairs)
    chosen = worth[:MAX_PAIRS]
    tracks = result.tracks
    if isinstance(result, CheckResult):
        tracks = (*result.submissions, *tracks)
    durations_s = {track.id: track.duration_s for track in tracks}
    pieces = _pieces(result)
    length_s = _clip_length_s(chosen, max_bytes)
    planned = [(pair, length_s) for pair in chosen]
    planned += [(pair, MAX_COMPOSITION_CLIP_S) for pair in pieces]
    wanted = _wanted_spans(planned, max_bytes) if audio else {}
    budget = _Budget(max_bytes)
    decoded: dict[str, DecodedTrack] = {}
    unread: set[str] = set()
    pairs: list[PairMedia] = []
    compositions: list[PairMedia] = []
    for n_done, (pair, longest_s) in enumerate(planned, 1):
        is_recording = n_done <= len(chosen)
        for track in dict.fromkeys((pair.a, pair.b)):
            if track in decoded:
                continue
            duration_s, spans = durations_s.get(track, 0.0), wanted.get(track, set())
            if not budget.take(_PEAKS_BYTES):
                duration_s = 0.0
                budget.left_out[_WAVEFORMS] += 1
            decoded[track] = _listen(paths.get(track), duration_s, spans)
            if (duration_s > 0.0 and not decoded[track].peaks) or spans - decoded[
                track
            ].clips.keys():
                unread.add(track)
        media = PairMedia(pair.a, pair.b)
        if matrices and dvectors is not None and is_recording and not pair.identical_file:
            media = _with_matrix(media, pair, dvectors, hop_s, window_s, budget)
        clips = _clips(pair, decoded, wanted, budget, longest_s) if audio else ()
        lacking = _lacking(pair, clips, unread, max_bytes) if audio else NO_AUDIO
        done = pairs if is_recording else compositions
        done.append(replace(media, clips=clips, lacking=lacking))
        if on_pair is not None:
            on_pair(n_done, len(planned))
    pairs += [PairMedia(pair.a, pair.b, lacking=BEYOND) for pair in worth[MAX_PAIRS:]]
    every = (*chosen, *result.pairs, *pieces)
    ends = dict.fromkeys(end for pair in every for end in (pair.a, pair.b))
    shown = [
        TrackMedia(track, decoded.get(track, DecodedTrack()).peaks, _link(paths.get(track), folder))
        for track in ends
    ]
    return Media(
        tracks=tuple(track for track in shown if track.peaks or track.link),
        pairs=tuple(pairs),
        compositions=tuple(compositions),
        notes=tuple(_notes(budget.left_out, max_bytes, len(unread), len(worth) - len(chosen))),
    )


def link_to(path: bytes, folder: Path) -> str:
    r"""Return the relative URL that leads from a folder to a file, or "" where none does.

    None leads to an object.

    Examples
    --------
    >>> link_to(b"/music/100% #1?\n\xff.mp3", Path("/music/reports"))
    '../100%25%20%231%3F%0A%FF.mp3'
    """
    try:
        link = relative_link(path, folder)
    except ValueError:  # on another drive
        return ""
    return link if not link or link.startswith("../") else f"./{link}"


def _link(path: bytes | None, folder: Path) -> str:
    return link_to(path, folder) if path is not None and os.path.isfile(path) else ""


def _worth_media(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs that get media, in the order in which the limit is spent on them."""
    ordered = sorted(pairs, key=lambda pair: (not pair.flagged, not pair.decision))
    return [p for p in ordered if p.flagged or p.decision or p.evidence is not None]


def _ranges(pair: Pair) -> tuple[MatchedRange, ...]:
    return pair.evidence.ranges[:MAX_RANGES] if pair.evidence is not None else ()


def _pieces(result: ScanResult | CheckResult) -> list[Pair]:
    """Return the compositions that get clips, each as a pair with its passage as the one range."""
    pieces = []
    for line in matches_in_order(result)[:MAX_COMPOSITIONS]:
        match = line.match
        times = (match.a_start_s, match.a_end_s, match.b_start_s, match.b_end_s)
        length_a, length_b = times[1] - times[0], times[3] - times[2]
        tempo = length_b / length_a if length_a > 0.0 and length_b > 0.0 else match.tempo
        passage = MatchedRange(*times, tempo, match.score, None, 0.0)
        evidence = Evidence(match.score, (passage,), 0.0, 0.0, tempo, 0.0)
        pieces.append(Pair(match.a, match.b, match.score, evidence=evidence))
    return pieces


def _clip_length_s(pairs: Sequence[Pair], max_bytes: int) -> float:
    """Return the longest clips that pairs can have, see ``CLIP_LENGTHS_S``."""
    ranges = [matched for pair in pairs for matched in _ranges(pair)]
    return next(
        (
            length_s
            for length_s in CLIP_LENGTHS_S
            if sum(clip_bytes(clip_spans(r, longest_s=length_s)) for r in ranges) <= max_bytes / 2
        ),
        CLIP_LENGTHS_S[-1],
    )


def _wanted_spans(planned: Sequence[tuple[Pair, float]], max_bytes: int) -> dict[str, set[Span]]:
    """Return for each track the clips to encode: as many as will about fit into the limit.

    Each pair comes with the seconds that its clips have at most.
    """
    wanted: dict[str, set[Span]] = defaultdict(set)
    left = float(max_bytes)
    for pair, longest_s in planned:
        for matched in _ranges(pair):
            spans = clip_spans(matched, longest_s=longest_s)
            left -= clip_bytes(spans)
            if left < 0.0:
                return wanted
            wanted[pair.a].add(spans[0])
            wanted[pair.b].add(spans[1])
    return wanted


def _listen(path: bytes | None, duration_s: float, spans: Collection[Span]) -> DecodedTrack:
    """Return what is decoded from a file or object; nothing if it cannot be read."""
    if path is None or not (duration_s > 0.0 or spans):
        return DecodedTrack()
    try:
        with fetched(path) as there:
            return listen(there, duration_s=duration_s, spans=spans)
    except (AuditError, OSError):
        return DecodedTrack()


def _clips(
    pair: Pair,
    decoded: Mapping[str, DecodedTrack],
    wanted: Mapping[str, set[Span]],
    budget: _Budget,
    longest_s: float,
) -> tuple[Clip, ...]:
    """Return the clips of a pair; none any more once a pair had to go without."""
    clips: list[Clip] = []
    for place, matched in enumerate(_ranges(pair)):
        of_range: list[Clip] = []
        planned = not budget.left_out[_CLIPS]
        spans = clip_spans(matched, longest_s=longest_s)
        for side, track, span in zip("ab", (pair.a, pair.b), spans, strict=True):
            planned &= span in wanted.get(track, ())
            if span in decoded[track].clips:
                n_decoded, encoded = decoded[track].clips[span]
                start_s, end_s = span[0] / CLIP_RATE_HZ, (span[0] + n_decoded) / CLIP_RATE_HZ
                of_range.append(Clip(place, side, start_s, end_s, CLIP_MIME, encoded))
        if not (planned and budget.take(sum(len(clip.audio) for clip in of_range))):
            budget.left_out[_CLIPS] += not clips
            break
        clips += of_range
    return tuple(clips)


def _lacking(pair: Pair, clips: Sequence[Clip], unread: Collection[str], max_bytes: int) -> str:
    """Return which clips of a pair are lacking, and why; empty if all are there."""
    if pair.evidence is None or not pair.evidence.ranges:
        return NO_RANGE
    sides = [side for side, track in (("A", pair.a), ("B", pair.b)) if track in unread]
    if sides:
        gone = "the file was not found or could not be decoded"
        return f"Some or all clips of {' and '.join(sides)} are missing: {gone}."
    if len(clips) < 2 * len(_ranges(pair)):
        what = "Some ranges have no clips" if clips else "No clips"
        return f"{what}: {_limit(max_bytes)}."
    return SOME_RANGES if len(pair.evidence.ranges) > MAX_RANGES else ""


def _limit(max_bytes: int) -> str:
    return f"the report is limited to {max_bytes / 1e6:.3g} MB (--max-report-size)"


def _with_matrix(
    media: PairMedia,
    pair: Pair,
    dvectors: Windows,
    hop_s: float,
    window_s: float,
    budget: _Budget,
) -> PairMedia:
    """Return the media of a pair with its matrix; none any more once one did not fit."""
    if budget.left_out[_MATRICES]:
        budget.left_out[_MATRICES] += 1
        return media
    sides = []
    for track in (pair.a, pair.b):
        try:
            vectors, levels = dvectors(track)
        except AuditError:
            budget.left_out[_WINDOWS] += 1
            return media
        if not len(vectors):
            return media
        sides.append(np.where(audible_windows(levels)[:, None], vectors, np.float16(0)))
    pixels = similarity_pixels(sides[0], sides[1], hop_s=hop_s, window_s=window_s)
    text = base64.b64encode(grey_png(pixels)).decode()
    if not budget.take(len(text)):
        budget.left_out[_MATRICES] += 1
        return media
    a_s, b_s = (span_s(len(side), hop_s=hop_s, window_s=window_s) for side in sides)
    return replace(media, matrix=text, matrix_a_s=a_s, matrix_b_s=b_s)


def _notes(left_out: Mapping[str, int], max_bytes: int, n_unread: int, n_beyond: int) -> list[str]:
    """Return what was left out and why, a line each."""
    limit = _limit(max_bytes)
    lines = (
        (n_unread, "file", "is", "are", "missing, damaged or truncated: no clips or waveform"),
        (left_out[_CLIPS], "pair", "has", "have", f"no clips: {limit}"),
        (left_out[_WAVEFORMS], "track", "has", "have", f"no waveform: {limit}"),
        (left_out[_MATRICES], "pair", "has", "have", f"no similarity matrix: {limit}"),
        (left_out[_WINDOWS], "pair", "has", "have", "no similarity matrix: d-vectors are missing"),
        (n_beyond, "further pair", "has", "have", f"no clips: the limit is {MAX_PAIRS} pairs"),
    )
    return [
        f"{n:,} {noun if n == 1 else noun + 's'} {one if n == 1 else many} {what}"
        for n, noun, one, many, what in lines
        if n
    ]
