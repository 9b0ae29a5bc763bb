"""What the second witness reads of tracks, and how far it trusts the files of the index."""

from __future__ import annotations

import pytest
from small_catalogue import WEIGHTS, make_track, put

from auditor.catalogue.catalogue import Catalogue
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
