"""The map's places: near tracks near each other, the same every time, for any number of tracks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_catalogue import WEIGHTS, make_scan, make_track, open_workspace_file, put

from auditor.api.map import (
    N_NEIGHBOURS,
    describe,
    estimate_s,
    make_atlas,
    nearest_tracks,
    place_tracks,
    principal_components,
)
from auditor.catalogue.catalogue import FileStamp
from auditor.decisions.review import keep_last
from auditor.errors import CatalogueError
from auditor.records import Pair, TrackEmbedding
from auditor.workspace import Workspace


def unit_rows(n: int, *, n_dims: int = 16, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, n_dims)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def clumps(n_clumps: int, n_each: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors in tight clumps and the clump of each."""
    of = np.repeat(np.arange(n_clumps), n_each)
    rows = unit_rows(n_clumps, n_dims=32, seed=3)[of] + 0.1 * unit_rows(len(of), n_dims=32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), of


@pytest.mark.parametrize("n", [0, 1, 2, 5, 9, 10, 11, 40])
def test_any_number_of_tracks_has_its_places(n):
    rows = unit_rows(n)
    places = place_tracks(rows)
    assert places.shape == (n, 2)
    assert places.dtype == np.float32
    assert np.isfinite(places).all()
    if n > 1:
        assert np.abs(places).max() == pytest.approx(1.0)
        assert len(np.unique(places, axis=0)) == n
        assert np.allclose(places.min(axis=0), -places.max(axis=0), atol=1e-6), "centred"
    np.testing.assert_array_equal(place_tracks(rows), places)


def test_another_seed_gives_another_map():
    rows = unit_rows(40)
    assert not np.array_equal(place_tracks(rows, seed=0), place_tracks(rows, seed=1))


def test_tracks_of_one_clump_lie_together():
    rows, of = clumps(4, 15)
    places = place_tracks(rows).astype(np.float64)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert (of[apart.argmin(axis=1)] == of).all()
    same = of[:, None] == of[None]
    assert apart[same & np.isfinite(apart)].max() < apart[~same].min()


def test_identical_tracks_can_be_placed():
    places = place_tracks(np.repeat(unit_rows(1), 20, axis=0))
    assert np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == 20, "each can be pointed at"


def test_the_wrong_embeddings_are_refused():
    with pytest.raises(ValueError, match="row 1 of embeddings has norm 2"):
        place_tracks(unit_rows(3) * np.array([[1.0], [2.0], [1.0]], np.float32))
    with pytest.raises(ValueError, match="seed is -1"):
        place_tracks(unit_rows(3), seed=-1)


def test_principal_components_are_those_of_the_singular_values():
    rows = unit_rows(30)
    found = principal_components(rows)
    _, sizes, _ = np.linalg.svd(rows - rows.mean(axis=0))
    np.testing.assert_allclose((found**2).sum(axis=0), sizes[:2] ** 2, rtol=1e-4)
    assert principal_components(rows[:, :1] * 0 + 1).tolist() == [[0.0, 0.0]] * 30


@given(st.integers(0, 12), st.integers(1, 7), st.integers(1, 3))
@settings(max_examples=40)
def test_nearest_tracks_are_the_best_others(n, top, n_different):
    rows = unit_rows(max(n, 1))[np.arange(n) % n_different if n else []]
    found, scores = nearest_tracks(rows.reshape(n, 16), top=top)
    assert found.shape == scores.shape == (n, min(top, max(n - 1, 0)))
    products = rows.reshape(n, 16) @ rows.reshape(n, 16).T
    for row in range(n):
        assert row not in found[row]
        assert len(set(found[row])) == len(found[row])
        best = np.sort(np.delete(products[row], row))[::-1][:top]
        np.testing.assert_allclose(scores[row], best, atol=1e-5)


def test_the_estimate_rises_and_the_method_is_said():
    times = [estimate_s(n) for n in (10, 1_000, 5_000, 25_000)]
    assert times == sorted(times)
    assert times[0] < 0.1
    assert describe(5, 0) == "principal components (too few tracks for t-SNE), seed 0"
    assert "t-SNE" in describe(1_000, 7)
    assert "perplexity 30, seed 7" in describe(1_000, 7)


# a workspace


@pytest.fixture
def workspace(tmp_path):
    """Return a workspace of 12 tracks in a folder; t0 to t5 sound alike."""
    rows = np.concatenate([clumps(1, 6)[0], unit_rows(6, n_dims=32, seed=9)])
    extractor = SimpleNamespace(name="x", weights_id=WEIGHTS)
    with open_workspace_file(tmp_path) as catalogue:
        for i, row in enumerate(rows):
            name = f"t{i:02d}"
            catalogue.put(
                make_track(name),
                path_bytes=f"/music/{name}.mp3".encode(),
                stamp=FileStamp(1000, 1),
                embeddings={
                    WEIGHTS: TrackEmbedding(
                        row, row[None].astype(np.float16), np.zeros(1, np.float16)
                    )
                },
            )
        yield Workspace(tmp_path, catalogue, extractor, writable=True)


def keep_scan(workspace: Workspace, *pairs: Pair) -> None:
    scan = make_scan(tuple(workspace.catalogue.tracks()), pairs)
    keep_last(workspace.directory, scan)


def test_an_atlas_of_a_catalogue(workspace):
    keep_scan(
        workspace,
        Pair("t00", "t01", 0.9),
        Pair("t01", "t02", 0.8),
        Pair("t10", "t11", 0.7),
        Pair("t03", "t04", 0.6, flagged=False),
    )
    started = []
    atlas = make_atlas(workspace, command="audit map", on_start=lambda *how: started.append(how))
    assert [track.id for track in atlas.tracks] == [f"t{i:02d}" for i in range(12)]
    assert atlas.paths[3] == b"/music/t03.mp3"
    assert atlas.place.neighbours.shape == (12, N_NEIGHBOURS)
    assert set(atlas.place.neighbours[0]) == {1, 2, 3, 4, 5}, "its clump"
    assert [(a, b, pair.score) for a, b, pair in atlas.pairs] == [
        (0, 1, 0.9),
        (1, 2, 0.8),
        (10, 11, 0.7),
    ]
    assert atlas.cluster_of == (0, 0, 0, -1, -1, -1, -1, -1, -1, -1, 1, 1)
    assert atlas.notes == ()
    assert started == [(12, estimate_s(12))]
    assert atlas.provenance.command == "audit map"
    again = make_atlas(workspace)
    np.testing.assert_array_equal(again.place.positions, atlas.place.positions)


def test_pairs_that_no_longer_stand_are_not_joined(workspace):
    catalogue = workspace.catalogue
    keep_scan(workspace, Pair("t00", "t01", 0.9), Pair("t02", "t03", 0.9), Pair("t04", "t05", 0.9))
    catalogue.remove(["t05"])
    catalogue.decide(
        catalogue.sha256_of("t02"), catalogue.sha256_of("t03"), "licensed", note="", by=""
    )
    catalogue.decide(
        catalogue.sha256_of("t00"), catalogue.sha256_of("t01"), "confirmed", note="", by=""
    )
    atlas = make_atlas(workspace)
    assert [(a, b) for a, b, _ in atlas.pairs] == [(0, 1)]
    assert atlas.notes[0].startswith("Flagged pairs of the last scan not drawn")
    assert atlas.notes[0].endswith(": 1. Run: audit scan")
    assert atlas.notes[1] == "Flagged pairs of the last scan set aside by decisions: 1."


def test_a_changed_file_is_not_joined_by_what_it_was(workspace):
    keep_scan(workspace, Pair("t00", "t01", 0.9))
    row = unit_rows(1, n_dims=32)[0]
    embedding = TrackEmbedding(row, row[None].astype(np.float16), np.zeros(1, np.float16))
    workspace.catalogue.put(
        make_track("t00", sha256="ab" * 32),
        path_bytes=b"/music/t00.mp3",
        stamp=FileStamp(999, 2),
        embeddings={WEIGHTS: embedding},
    )
    assert make_atlas(workspace).pairs == ()


def test_without_a_scan_and_with_another_extractor_the_notes_say_so(workspace):
    assert "holds no scan" in make_atlas(workspace).notes[0]
    keep_scan(workspace)
    other = replace(workspace, extractor=SimpleNamespace(name="y", weights_id=WEIGHTS))
    scan = make_scan(tuple(workspace.catalogue.tracks()), ())
    made = replace(scan.provenance, weights_id="ffffffff")
    keep_last(workspace.directory, replace(scan, provenance=made))
    assert "flagged pairs from x (ffffffff)" in make_atlas(other).notes[0]


def test_silent_and_missing_tracks_have_no_place(workspace):
    workspace.catalogue.mark_missing(["t07"])
    silent = TrackEmbedding(
        np.zeros(32, np.float32), np.zeros((1, 32), np.float16), np.zeros(1, np.float16)
    )
    workspace.catalogue.put(
        make_track("hush", silent=True),
        path_bytes=b"/music/hush.mp3",
        stamp=FileStamp(1, 1),
        embeddings={WEIGHTS: silent},
    )
    keep_scan(workspace)
    atlas = make_atlas(workspace)
    assert not {"t07", "hush"} & {track.id for track in atlas.tracks}
    assert atlas.notes == ("Silent tracks left out of the map: 1.",)


def test_an_empty_catalogue_is_refused(tmp_path):
    extractor = SimpleNamespace(name="x", weights_id="ffffffff")
    with open_workspace_file(tmp_path) as catalogue:
        put(catalogue, make_track("one"))
        with pytest.raises(CatalogueError, match="holds no track embedded by x .*audit scan DIR"):
            make_atlas(Workspace(tmp_path, catalogue, extractor))
