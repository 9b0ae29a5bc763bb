"""A catalogue of made-up tracks without audio, and results about them, for tests of decisions."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from auditor.catalogue.catalogue import Catalogue, FileStamp
from auditor.records import (
    CheckResult,
    Pair,
    Provenance,
    ScanResult,
    ThresholdUse,
    Track,
    TrackEmbedding,
)

WEIGHTS = "0a1b2c3d"


def sha(name: str) -> str:
    """Return the SHA-256 that the track of a name has."""
    return hashlib.sha256(name.encode()).hexdigest()


def make_track(name: str, **changes: object) -> Track:
    values = {
        "id": name,
        "path": f"/music/{name}.mp3",
        "sha256": sha(name),
        "size": 1000,
        "duration_s": 12.5,
        "declared_s": None,
        "truncated": False,
        "silent": False,
        "codec": "mp3",
        "container": "mp3",
        "sample_rate_hz": 44100,
        "n_channels": 2,
        "bit_rate": 128000,
        "title": f"Title {name}",
        "artist": f"Artist {name}",
    }
    return Track(**{**values, **changes})


def put(catalogue: Catalogue, track: Track, path: str = "") -> None:
    unit = np.eye(4, dtype=np.float32)
    embedding = TrackEmbedding(unit[0], unit.astype(np.float16), np.zeros(4, np.float16))
    catalogue.put(
        track,
        path_bytes=(path or track.path).encode(),
        stamp=FileStamp(track.size, 1),
        embeddings={WEIGHTS: embedding},
    )


def make_workspace(folder: Path, *tracks: Track) -> Path:
    """Write a workspace whose catalogue holds the tracks."""
    with Catalogue.open(folder / "catalogue.sqlite3") as catalogue:
        for track in tracks:
            put(catalogue, track)
    return folder


def open_workspace_file(folder: Path) -> Catalogue:
    return Catalogue.open(folder / "catalogue.sqlite3")


def make_scan(tracks: tuple[Track, ...], pairs: tuple[Pair, ...]) -> ScanResult:
    return ScanResult(
        tracks=tracks,
        pairs=pairs,
        clusters=(),
        skipped=(),
        n_tracks=len(tracks),
        n_pairs_compared=10,
        search="exact",
        index_recall=None,
        histogram={},
        threshold=ThresholdUse(0.8, "by hand"),
        provenance=Provenance("0", "audit scan", "2026-01-01T00:00:00Z", "x", WEIGHTS, ".audit"),
    )


def make_check(
    submissions: tuple[Track, ...], tracks: tuple[Track, ...], pairs: tuple[Pair, ...]
) -> CheckResult:
    scan = make_scan(tracks, ())
    return CheckResult(
        submissions=submissions,
        tracks=tracks,
        pairs=pairs,
        skipped=(),
        n_tracks=len(tracks),
        n_pairs_compared=10,
        search="exact",
        index_recall=None,
        threshold=scan.threshold,
        provenance=scan.provenance,
    )
