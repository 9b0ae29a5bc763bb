"""Small results with verdicts, ranges, and media of real sound, for tests of reports."""

from __future__ import annotations

import base64
import dataclasses
import functools

import numpy as np
from small_catalogue import make_track
from tunes import tune

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.encode import encode
from auditor.decisions.apply import pair_id
from auditor.records import (
    CheckResult,
    Cluster,
    Detection,
    Evidence,
    MatchedRange,
    Pair,
    Provenance,
    ScanResult,
    Skipped,
    ThresholdUse,
    Track,
)
from auditor.report.media.matrix_png import grey_png
from auditor.report.media.model import Clip, Media, PairMedia, TrackMedia

CLIP_S = 5.0
HOSTILE = '</script><img src=x onerror="window.hurt=1"><b>'
USE = ThresholdUse(0.62, "excerpt-0a1b2c3d.json", 8e-7, 2e-7, 19e-7, 0.8, budget=1.0)
PROVENANCE = Provenance(
    "0.1.0", "audit scan music", "2026-01-02T03:04:05Z", "excerpt", "0a1b2c3d", ".audit"
)
DETECTION = (
    Detection("mp3 at 64 kbit/s", 200, 198, 0.964, 0.997),
    Detection("reversed", 0, 0, 0.0, 1.0),
)
EDGES = tuple(round(-0.2 + 0.05 * i, 2) for i in range(25))
HISTOGRAM = {"edges": EDGES, "counts": tuple(float(max(1, 900 - 40 * i)) for i in range(24))}


def make_range(a_s: float, b_s: float, **changes: float | None) -> MatchedRange:
    """Return a range of nine seconds of a."""
    heard = MatchedRange(a_s, a_s + 9.0, b_s, b_s + 9.0, 1.0, 0.8, 0.0, 0.1)
    heard = dataclasses.replace(heard, **changes)
    return dataclasses.replace(heard, b_end_s=heard.b_start_s + 9.0 * heard.tempo)


RANGES = {
    "altered recording": (make_range(0.0, 12.0, tempo=1.04, pitch_semitones=0.7),),
    "shared excerpt": (make_range(72.0, 103.0), make_range(140.0, 20.0), make_range(10.0, 180.0)),
    "same recording": (make_range(1.0, 1.0),),
}


def make_evidence(*ranges: MatchedRange) -> Evidence:
    """Return evidence of these ranges."""
    score = ranges[0].score if ranges else -1.0
    return Evidence(score, ranges, 0.4, 0.3, ranges[0].tempo if ranges else 1.0, 0.2)


def make_pair(a: Track, b: Track, score: float, verdict: str, **changes: object) -> Pair:
    """Return a pair with the ranges of its verdict."""
    values = {
        "identical_file": verdict == "identical file",
        "flagged": verdict not in ("sounds alike", "clear"),
        "pair_id": pair_id(a.sha256, b.sha256),
        "far": 3.1e-7,
        "verdict": verdict,
        "evidence": make_evidence(*RANGES.get(verdict, ())),
    }
    return Pair(a.id, b.id, score, **{**values, **changes})  # type: ignore[arg-type]


@functools.cache
def clip_audio(seed: int) -> str:
    """Return five seconds of a tune as Opus, base64."""
    waveform = tune(seed, duration_s=CLIP_S)
    return base64.b64encode(
        encode(waveform, codec="opus", sample_rate_hz=SAMPLE_RATE_HZ, bit_rate=32_000)
    ).decode()


def make_media(result: ScanResult | CheckResult) -> Media:
    """Return clips, matrices, waveforms and links of all tracks and pairs."""
    rng = np.random.default_rng(0)
    matrix = base64.b64encode(grey_png(rng.integers(4, 16, (40, 50), dtype=np.uint8))).decode()
    pairs = []
    for pair in result.pairs:
        clips = []
        for place, heard in enumerate(pair.evidence.ranges if pair.evidence else ()):
            for side, start_s in (("a", heard.a_start_s), ("b", heard.b_start_s)):
                mime, seed = "audio/ogg; codecs=opus", place + 10 * (side == "b")
                clips.append(Clip(place, side, start_s, start_s + CLIP_S, mime, clip_audio(seed)))
        if clips:
            pairs.append(PairMedia(pair.a, pair.b, tuple(clips), matrix, 200.0, 220.0))
    submissions = result.submissions if isinstance(result, CheckResult) else ()
    tracks = tuple(
        TrackMedia(track.id, tuple(int(p) for p in rng.integers(5, 100, 300)), f"music/{i}.mp3")
        for i, track in enumerate((*submissions, *result.tracks))
    )
    return Media(tracks, tuple(pairs), ("1 matrix was left out.",))


def make_tracks(n: int) -> tuple[Track, ...]:
    """Return tracks of some 200 s; the second one has a hostile title."""
    tracks = tuple(
        make_track(
            f"t{i:05}",
            duration_s=200.0 + i % 20,
            title=f"Title {i}",
            artist=("Ana Ruiz", "Bo", "Kid Koala")[i % 3],
            licence="CC0 1.0",
        )
        for i in range(n)
    )
    evil = dataclasses.replace(tracks[1], title=HOSTILE, artist=HOSTILE, path=f"x/{HOSTILE}")
    return (tracks[0], evil, *tracks[2:])


def make_scan(**changes: object) -> ScanResult:
    """Return a scan with one pair of each verdict."""
    tracks = make_tracks(10)
    verdicts = ("altered recording", "shared excerpt", "identical file", "sounds alike")
    pairs = tuple(
        make_pair(tracks[2 * i], tracks[2 * i + 1], 0.95 - 0.1 * i, verdict)
        for i, verdict in enumerate(verdicts)
    )
    clusters = tuple(
        Cluster((pair.a, pair.b), pair.score, pair.a, "earliest release date")
        for pair in pairs
        if pair.flagged
    )
    values = {
        "tracks": tracks,
        "pairs": pairs,
        "clusters": clusters,
        "skipped": (Skipped(f"music/{HOSTILE}.mp3", "no audio stream"),),
        "n_tracks": 8000,
        "n_pairs_compared": 1_000_000,
        "search": "exact",
        "index_recall": None,
        "histogram": HISTOGRAM,
        "threshold": USE,
        "provenance": PROVENANCE,
        "detection": DETECTION,
    }
    return ScanResult(**{**values, **changes})  # type: ignore[arg-type]


def make_large_scan(n_pairs: int) -> ScanResult:
    """Return a scan of many pairs, each a cluster of its own."""
    tracks = make_tracks(2 * n_pairs)
    pairs = tuple(
        make_pair(tracks[2 * i], tracks[2 * i + 1], 0.95 - 3e-5 * i, "shared excerpt")
        for i in range(n_pairs)
    )
    clusters = tuple(Cluster((pair.a, pair.b), pair.score, pair.a, "longest") for pair in pairs)
    return make_scan(tracks=tracks, pairs=pairs, clusters=clusters)


def make_check(*verdicts: str) -> CheckResult:
    """Return a check of one submission that was compared with a track for each verdict."""
    scan = make_scan()
    submission = make_track("new", title="Release", path="new/release.wav", duration_s=204.0)
    pairs = tuple(
        make_pair(submission, track, 0.9 - 0.1 * i, verdict)
        for i, (verdict, track) in enumerate(zip(verdicts, scan.tracks, strict=False))
    )
    return CheckResult(
        submissions=(submission,),
        tracks=scan.tracks,
        pairs=pairs,
        skipped=(),
        n_tracks=8000,
        n_pairs_compared=8000,
        search="annoy",
        index_recall=0.993,
        threshold=USE,
        provenance=PROVENANCE,
        detection=DETECTION,
    )
