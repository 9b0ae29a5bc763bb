"""One side of a comparison asks the excerpt index of the other: by shards, and without them."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.search.excerpts import among
from auditor.search.excerpts.build import refresh_excerpts
from auditor.search.excerpts.index import ExcerptSearch, ExcerptSource

N_TRACKS, N_WINDOWS, N_DIMS = 40, 60, 24


@pytest.fixture(scope="module")
def tracks() -> dict[str, np.ndarray]:
    """Seeded tracks; the odd ones each hold twenty windows of the one before."""
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    for i in range(N_TRACKS):
        rows = rng.normal(size=(N_WINDOWS, N_DIMS)).astype(np.float32)
        if i % 2:
            rows[10:30] = found[f"t{i - 1:02}"][30:50]
        found[f"t{i:02}"] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


@pytest.fixture(scope="module")
def opened(tmp_path_factory, tracks):
    levels = np.zeros(N_WINDOWS, np.float16)
    source = ExcerptSource(
        "0a1b2c3d",
        N_DIMS,
        {name: i for i, name in enumerate(tracks)},
        lambda name: (tracks[name], levels),
    )
    folder = tmp_path_factory.mktemp("excerpts")
    return refresh_excerpts(folder, source, hop_s=0.8).index, source


@pytest.mark.parametrize("few", [False, True])
def test_only_the_wanted_tracks_answer(monkeypatch, tracks, opened, few):
    monkeypatch.setattr(among, "MIN_SHARE", 2.0 if few else 0.0)
    index, source = opened
    wanted = np.arange(N_TRACKS) % 2 == 0
    part = among.excerpts_among(index, source, wanted, hop_s=0.8)
    assert (part.shards[0].path.name == "memory") is few
    assert len(part.ids) == N_TRACKS // 2
    for i in range(1, N_TRACKS, 2):
        found = part.candidates(tracks[f"t{i:02}"], exclude=f"t{i:02}", search=ExcerptSearch(top=3))
        assert found[0].track_id == f"t{i - 1:02}"
        assert found[0].offset_s == pytest.approx(16.0, abs=1.7)
        assert all(int(one.track_id[1:]) % 2 == 0 for one in found)


def test_a_track_is_not_its_own_answer(tracks, opened):
    index, source = opened
    part = among.excerpts_among(index, source, np.ones(N_TRACKS, bool), hop_s=0.8)
    found = part.candidates(tracks["t03"], exclude="t03")
    assert found[0].track_id == "t02"
    assert "t03" not in {one.track_id for one in found}


def test_no_track_answers_nothing(tracks, opened):
    index, source = opened
    part = among.excerpts_among(index, source, np.zeros(N_TRACKS, bool), hop_s=0.8)
    assert part.candidates(tracks["t03"]) == []


def test_all_rows_are_compared_in_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    rows, queries = (rng.normal(size=(n, 5)).astype(np.float32) for n in (50, 9))
    whole = among.ExactBackend(rows).search(queries, 4, -1)
    monkeypatch.setattr(among, "_PRODUCTS", 100)
    parts = among.ExactBackend(rows).search(queries, 4, -1)
    for a, b in zip(whole, parts, strict=True):
        assert np.allclose(a, b)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    best = np.argsort(-(unit @ queries[0]))[:4]
    assert whole[1][:4].tolist() == best.tolist()
