"""Candidates by spectra: copies without their lows, whatever the network makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from small_catalogue import WEIGHTS, make_track, put, sha

from auditor.catalogue.catalogue import Catalogue
from auditor.embedding.config import SPECTRUM
from auditor.evidence.spectra.lines import TrackSpectrum
from auditor.parallel import LocalTiles
from auditor.scoring.spectral_candidates import (
    STEP,
    AskingTrack,
    SpectralTile,
    block_vectors,
    describe_blocks,
    spectral_across,
    spectral_hits,
    spectral_tracks,
)
from auditor.scoring.track_reader import CatalogueReader
from auditor.search.across import TwoSides

FRAME_S = SPECTRUM.frame_hop_s


def notes(seed: int, n_frames: int = 300) -> np.ndarray:
    """Return the spectrum of notes of half a second at random pitches, uint8."""
    rng = np.random.default_rng(seed)
    frames = rng.normal(60.0, 2.0, (n_frames, SPECTRUM.n_bands))
    for start in range(0, n_frames, 5):
        frames[start : start + 5, rng.integers(0, SPECTRUM.n_bands, 8)] += 35.0
    return frames.round().astype(np.uint8)


def without_lows(frames: np.ndarray) -> np.ndarray:
    low = np.array(frames)
    low[:, : SPECTRUM.n_bands // 2] = 20
    return low


@pytest.fixture
def reader(tmp_path):
    """Tracks of notes; ``copy`` is part of ``track-3`` without its lows, ``mute`` is silent."""
    with Catalogue.open(tmp_path / "catalogue.sqlite3") as catalogue:
        made = {f"track-{n}": notes(n) for n in range(40)}
        made["copy"] = without_lows(made["track-3"][40:250])
        made["mute"] = np.zeros((300, SPECTRUM.n_bands), np.uint8)
        for name, frames in made.items():
            put(catalogue, make_track(name, duration_s=len(frames) * FRAME_S))
            catalogue.store_spectrum(sha(name), frames)
        put(catalogue, make_track("without-spectrum"))
        yield CatalogueReader(tmp_path, catalogue, WEIGHTS, hop_s=0.8, window_s=1.6, writable=True)


def sides_of(reader: CatalogueReader, left: set[str]) -> TwoSides:
    mask = np.array([track_id in left for track_id in reader.excerpts()[0].ids])
    return TwoSides.of(mask, ~mask)


def test_blocks_are_unit_vectors_and_silence_has_none():
    starts, vectors = block_vectors(TrackSpectrum(notes(1), 28.8).levelled())
    assert starts.tolist() == list(range(0, 300 - 24 + 1, STEP))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    silence = np.zeros((300, SPECTRUM.n_bands), np.uint8)
    assert len(block_vectors(TrackSpectrum(silence, 28.8).levelled())[0]) == 0
    assert len(block_vectors(TrackSpectrum(notes(1, 20), 1.9).levelled())[0]) == 0


def test_few_blocks_of_a_long_track_ask_and_lie_all_over_it():
    asking = AskingTrack.of(TrackSpectrum(notes(1, 3000), 288.0), n_asking=32)
    assert 16 <= len(asking.starts) <= 32
    assert asking.starts[0] == 0
    assert asking.starts[-1] > 2700


def test_a_copy_without_lows_votes_for_its_original(reader):
    index, _ = reader.excerpts()
    row = index.tracks.row_of
    copy = AskingTrack.of(TrackSpectrum(reader.spectrum("copy"), 20.0), row("copy"))
    everything = np.arange(len(index.tracks))
    (hits,) = spectral_hits([copy], describe_blocks(reader, everything))
    assert spectral_tracks(hits, top=3)[0] == row("track-3")
    assert row("copy") not in hits.tracks
    on_line = hits.take(hits.tracks == row("track-3"))
    expected = 40 / STEP + 0.5 * on_line.queries  # the copy begins at frame 40
    at_their_place = np.abs(on_line.windows - expected) <= 1
    assert len(np.unique(on_line.queries[at_their_place])) >= 0.8 * len(copy.starts)


def test_left_tracks_find_right_ones_alone(reader):
    index, _ = reader.excerpts()
    name = index.tracks.id_of
    sides = sides_of(reader, {"copy", "mute", "track-1", "without-spectrum"})
    pairs = spectral_across(LocalTiles(), reader, sides)
    named = [(name(a), name(b)) for a, b in pairs.tolist()]
    assert named[0] == ("copy", "track-3")
    assert {a for a, _ in named} <= {"copy", "track-1"}
    assert not {b for _, b in named} & {"copy", "mute", "track-1", "without-spectrum"}
    without_original = sides_of(reader, {"copy", "track-3"})
    pairs = spectral_across(LocalTiles(), reader, without_original)
    assert index.tracks.row_of("track-3") not in pairs[:, 1]


def test_nothing_asks_where_nothing_is_heard(reader):
    sides = sides_of(reader, {"mute", "without-spectrum"})
    assert spectral_across(LocalTiles(), reader, sides).shape == (0, 2)
    assert spectral_across(LocalTiles(), reader, sides.turned).shape[0] == 0


def test_tiles_travel_as_bytes(reader):
    tile = SpectralTile(reader, sides_of(reader, {"copy"}))
    found = tile((0, 1))
    np.testing.assert_array_equal(tile.unpack(tile.pack(found)), found)
