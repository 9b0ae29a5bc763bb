"""What the second witness reads of tracks, and how far it trusts the files of the index."""

from __future__ import annotations

import numpy as np
import pytest
from small_catalogue import WEIGHTS, make_track, put, sha

from auditor.catalogue.catalogue import Catalogue
from auditor.embedding.config import SPECTRUM
from auditor.scoring import track_reader
from auditor.scoring.track_reader import CatalogueReader
from auditor.search.excerpts import shards as excerpt_shards


@pytest.fixture
def catalogue(tmp_path):
    with Catalogue.open(tmp_path / "catalogue.sqlite3") as opened:
        for name in ("one", "two", "three"):
            put(opened, make_track(name))
        yield opened


def read_by(catalogue: Catalogue, *, writable: bool) -> CatalogueReader:
    folder = catalogue.path.parent
    return CatalogueReader(folder, catalogue, WEIGHTS, hop_s=0.8, window_s=1.6, writable=writable)


def test_who_writes_finds_damage_in_the_middle_of_a_large_shard(catalogue, monkeypatch):
    monkeypatch.setattr(excerpt_shards, "VERIFY_BYTES", 0)
    index, _ = read_by(catalogue, writable=True).excerpts()
    (shard,) = index.shards
    whole = shard.path.with_suffix(".ann").read_bytes()
    damaged = bytearray(whole)
    damaged[12] ^= 1  # the last bit of a vector: nothing that would lead Annoy astray
    # A new file: the old one is mapped.
    partial = shard.path.with_suffix(".partial")
    partial.write_bytes(damaged)
    partial.replace(shard.path.with_suffix(".ann"))

    index, _ = read_by(catalogue, writable=False).excerpts()
    assert index.uncovered == ()  # a check compares its size alone
    index, _ = read_by(catalogue, writable=True).excerpts()
    assert index.uncovered == ()
    assert index.shards[0].path.with_suffix(".ann").read_bytes() == whole


def test_what_is_prepared_of_a_spectrum_serves_the_next_pair_within_bounded_memory(
    catalogue, monkeypatch
):
    frames = np.random.default_rng(0).integers(0, 99, (50, SPECTRUM.n_bands)).astype(np.uint8)
    for name in ("one", "two", "three"):
        catalogue.store_spectrum(sha(name), frames)
    monkeypatch.setattr(track_reader, "SPECTRA_BYTES", 2 * 5 * frames.nbytes)
    reader = read_by(catalogue, writable=False)
    first = reader._side("one").spectrum
    assert first is not None
    assert reader._side("two").spectrum is not first
    assert reader._side("one").spectrum is first
    assert reader._side("three").spectrum is not first  # takes the place of two
    assert reader._side("one").spectrum is first
    assert reader._prepared_spectrum.n_bytes <= 2 * 5 * frames.nbytes
