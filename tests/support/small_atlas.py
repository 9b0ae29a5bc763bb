"""Atlases of made-up tracks, of any size, for tests of the map's page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_catalogue import make_track

from auditor.api.map import N_NEIGHBOURS, Atlas, Place
from auditor.records import Pair, Provenance, Track

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\" onmouseover='alert(1)",
    "{{7*7}}{% raw %}",
    "line\nbreak\r\x00\u202egnirts\u2028",
    "lone \ud800 surrogate",
    "<!--<script>",
)
PROVENANCE = Provenance("0", "audit map", "2026-01-01T00:00:00Z", "x", "0a1b2c3d", ".audit")
GENRES = (
    "Ambient",
    "Folk",
    "Hip-Hop",
    "Jazz",
    "Metal",
    "Pop",
    "Punk",
    "Rock",
    "Ska",
    "Soul",
    "Trip",
)


def make_atlas(
    n: int = 12,
    *,
    seed: int = 0,
    tracks: tuple[Track, ...] | None = None,
    files: Path | None = None,
    pairs: tuple[tuple[int, int, Pair], ...] | None = None,
) -> Atlas:
    """Return an atlas of n tracks in a few clumps, the first two of them a flagged pair."""
    rng = np.random.default_rng(seed)
    clumps = rng.uniform(-0.8, 0.8, (11, 2))
    clump = rng.integers(0, 11, n)
    positions = clumps[clump] + rng.normal(0.0, 0.08, (n, 2))
    positions /= max(float(np.abs(positions).max()), 1e-9)
    k = max(0, min(N_NEIGHBOURS, n - 1))
    if tracks is None:
        tracks = tuple(
            make_track(f"t{i:05d}", genre=GENRES[clump[i]], licence="CC BY 4.0" if i % 3 else "")
            for i in range(n)
        )
    if pairs is None:
        pairs = ((0, 1, Pair(tracks[0].id, tracks[1].id, 0.95)),) if n > 1 else ()
    folder = files or Path("/music")
    joined = {row: 0 for a, b, _ in pairs for row in (a, b)}
    return Atlas(
        tracks=tracks,
        paths=tuple(bytes(folder / f"{track.id}.ogg") for track in tracks),
        place=Place(
            positions.astype(np.float32),
            (np.arange(n)[:, None] + np.arange(1, k + 1)) % max(n, 1),
            np.linspace(0.95, 0.5, k, dtype=np.float32) * np.ones((n, 1), np.float32),
        ),
        pairs=pairs,
        cluster_of=tuple(joined.get(row, -1) for row in range(n)),
        seed=seed,
        method="made up",
        provenance=PROVENANCE,
    )


def hostile_atlas() -> Atlas:
    tags = ("title", "artist", "album", "genre", "licence", "date")
    tracks = tuple(
        make_track(f"h{i}", **{tag: f"{text} {tag}" for tag in tags}, path=f"/music/{text}.mp3")
        for i, text in enumerate(HOSTILE)
    )
    return make_atlas(len(tracks), tracks=tracks)
