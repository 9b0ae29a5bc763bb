"""The file of vectors beside the catalogue: read back, and absent when it is damaged."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.search.sounds import read_sounds, sounds_path, write_sounds


@pytest.fixture
def vectors():
    rows = np.random.default_rng(0).normal(size=(5, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return {f"{n:064x}": row.astype(np.float32) for n, row in enumerate(rows)}


def test_vectors_are_read_back(tmp_path, vectors):
    path = sounds_path(tmp_path, "sound-0a1b2c3d", "4e5f6a7b")
    assert read_sounds(path, 8) == {}
    assert write_sounds(path, vectors)
    first = path.read_bytes()
    found = read_sounds(path, 8)
    assert list(found) == list(vectors)
    assert all((found[name] == vectors[name]).all() for name in vectors)
    assert write_sounds(path, dict(reversed(vectors.items())))
    assert path.read_bytes() == first
    assert read_sounds(path, 9) == {}


def test_a_damaged_file_counts_as_absent(tmp_path, vectors):
    path = tmp_path / "sounds.safetensors"
    write_sounds(path, vectors)
    data = path.read_bytes()
    for place in (0, 9, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 4
        path.write_bytes(changed)
        assert read_sounds(path, 8) == {}
    for n_bytes in (0, 7, 40, len(data) - 4):
        path.write_bytes(data[:n_bytes])
        assert read_sounds(path, 8) == {}


def test_where_nothing_can_be_written(tmp_path, vectors):
    (tmp_path / "file").write_bytes(b"")
    assert not write_sounds(tmp_path / "file" / "sounds.safetensors", vectors)
