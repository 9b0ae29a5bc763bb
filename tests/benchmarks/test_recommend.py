"""Tests of the benchmark of recommendations: its measures on made-up tracks, and a small run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import recommend
import recommend_tracks
from hypothesis import given, settings
from hypothesis import strategies as st
from recommend_tracks import HeardTrack

from auditor.records import TrackEmbedding
from auditor.training.genres import GenreSource


def unit(vectors) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=float)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def tracks_of(packages, styles, groups, *, albums=None, artists=None) -> list[HeardTrack]:
    nothing = np.zeros(4, np.float32)
    excerpt = TrackEmbedding(nothing, nothing[None], nothing[:1])
    rows = zip(packages, styles, albums or packages, artists or packages, groups, strict=True)
    return [HeardTrack("", *row, excerpt, nothing[None], nothing, {}) for row in rows]


# Precision


def test_precision_of_the_nearest():
    scores = np.asarray([[1.0, 0.9, 0.1, 0.5], [0.9, 1, 0.2, 0.3], [0.1, 0.2, 1, 0.0], [0] * 4])
    label = np.asarray([0, 0, 0, 1])
    same, others = label[:, None] == label[None], ~np.eye(4, dtype=bool)
    found = recommend.precision_at(scores, same, others, (1, 2, 3))
    np.testing.assert_allclose(found[0], [1.0, 1 / 2, 2 / 3])  # 1, then 3 of another class, then 2
    np.testing.assert_allclose(found[2], [1.0, 1.0, 2 / 3])
    assert np.isnan(found[3]).all()  # nobody else is of its class
    others[0, 1] = False  # what is not allowed is passed over
    assert recommend.precision_at(scores, same, others, (1,))[0, 0] == 0.0


def test_too_few_possible_neighbours():
    with pytest.raises(ValueError, match="fewer than 3 possible neighbours"):
        recommend.precision_at(np.eye(3), np.ones((3, 3), bool), ~np.eye(3, dtype=bool), (1, 3))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=5, max_size=20), st.integers(0, 999))
def test_precision_lies_below_its_ceiling(labels, seed):
    label = np.asarray(labels)
    scores = np.random.default_rng(seed).normal(size=(len(label), len(label)))
    same, others = label[:, None] == label[None], ~np.eye(len(label), dtype=bool)
    found = recommend.precision_at(scores, same, others, (1, 4))
    chance, ceiling = recommend.chance_and_ceiling(same, others, (1, 4))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(ceiling))
    kept = ~np.isnan(found[:, 0])
    assert (found[kept] <= ceiling[kept] + 1e-12).all()
    assert (chance[kept] <= ceiling[kept] + 1e-12).all()
    # Scores that know the class reach the ceiling.
    perfect = recommend.precision_at(same.astype(float), same, others, (1, 4))
    np.testing.assert_allclose(perfect, ceiling)


def test_chance_is_what_random_scores_get():
    label = np.repeat([0, 1, 2], [2, 5, 13])
    same, others = label[:, None] == label[None], ~np.eye(20, dtype=bool)
    rng = np.random.default_rng(3)
    drawn = [recommend.precision_at(rng.random((20, 20)), same, others, (1, 5)) for _ in range(500)]
    chance, _ = recommend.chance_and_ceiling(same, others, (1, 5))
    np.testing.assert_allclose(np.mean(drawn, axis=(0, 1)), chance.mean(axis=0), atol=0.01)


# Intervals


def test_the_interval_holds_the_mean_and_shrinks_with_tracks():
    values = np.random.default_rng(1).random((400, 2))
    low, high = recommend.bootstrap_interval(values, range(400))
    assert (low < values.mean(axis=0)).all()
    assert (values.mean(axis=0) < high).all()
    half_width = 1.96 * values.std(axis=0) / np.sqrt(400)
    np.testing.assert_allclose((high - low) / 2, half_width, rtol=0.15)
    fewer = recommend.bootstrap_interval(values[:25], range(25))
    assert (fewer[1] - fewer[0] > 2 * (high - low)).all()


def test_clusters_of_equals_widen_the_interval():
    values = np.repeat(np.random.default_rng(1).random((20, 1)), 10, axis=0)
    packages = np.repeat([f"package {i}" for i in range(20)], 10)
    (low,), (high,) = recommend.bootstrap_interval(values, range(200))
    (wide_low,), (wide_high,) = recommend.bootstrap_interval(values, packages)
    assert wide_high - wide_low > 2 * (high - low)


def test_rows_without_a_value_are_left_out():
    values = np.asarray([[0.5], [np.nan], [0.5]])
    (low,), (high,) = recommend.bootstrap_interval(values, list("abc"))
    assert (low, high) == (0.5, 0.5)


# Notions of class


def test_the_notions_of_class():
    # Two styles of two packages each; embeddings say the package, and nothing of the style.
    packages = list(np.repeat(list("abcd"), 6))
    styles = list(np.repeat(["x", "y", "x", "y"], 6))
    by_package = unit(np.repeat(np.eye(4), 6, axis=0) + 1e-3)
    noise = unit(np.random.default_rng(0).normal(size=(24, 50)))
    tracks = tracks_of(packages, styles, range(24))
    found = recommend.measure_precision({"first": by_package, "noise": noise}, tracks)
    assert set(found) == {"album", "style", "style elsewhere"}  # no artist has two albums
    assert found["album"]["systems"]["first"]["mean"] == pytest.approx([1.0, 1.0, 0.5])
    assert found["album"]["ceiling"] == pytest.approx([1.0, 1.0, 0.5])
    assert found["album"]["chance"] == pytest.approx([5 / 23] * 3)
    assert found["style"]["chance"] == pytest.approx([11 / 23] * 3)
    assert found["style elsewhere"]["chance"] == pytest.approx([6 / 18] * 3)
    assert found["style elsewhere"]["ceiling"] == pytest.approx([1.0, 1.0, 0.6])
    difference = found["album"]["differences"]["noise"]
    low, high = np.asarray(difference["over_tracks"]).T
    assert (low > 0.2).all()
    assert (low <= difference["mean"]).all()
    assert (difference["mean"] <= high).all()


def test_artists_are_asked_for_on_other_albums():
    albums = ["a", "a", "b", *map(str, range(11))]
    artists = ["one", "one", "one", *[""] * 11]
    tracks = tracks_of(["p"] * 14, ["x"] * 14, range(14), albums=albums, artists=artists)
    same_class, allowed = recommend.notions(tracks)["artist, other albums"]
    assert np.argwhere(same_class & allowed).tolist() == [[0, 2], [1, 2], [2, 0], [2, 1]]


def test_tracks_that_share_material_are_no_neighbours():
    embeddings = unit(np.random.default_rng(0).normal(size=(14, 20)))
    embeddings[1] = embeddings[0]  # a copy in its own package
    packages, styles = ["a", "a", *"bcdefghijklm"], [""] * 13 + ["x"]
    tracks = tracks_of(packages, styles, range(14))
    alone = recommend.measure_precision({"x": embeddings}, tracks)["album"]
    assert (alone["n_tracks"], alone["systems"]["x"]["mean"][0]) == (2, 1.0)
    # Nothing is left to be asked for.
    tracks = tracks_of(packages, styles, [0, 0, *range(2, 14)])
    assert recommend.measure_precision({"x": embeddings}, tracks) == {}


# Hubness and far tracks


def test_a_hub_is_seen():
    rng = np.random.default_rng(0)
    centred = unit(rng.normal(size=(80, 6)))
    hub = unit(np.concatenate([[np.ones(40)], rng.normal(size=(79, 40)) + 0.6]))
    tracks = tracks_of(["p"] * 80, [""] * 80, range(80))
    found = recommend.measure_hubness({"even": centred, "hub": hub}, tracks)
    assert found["hub"]["skewness"] > found["even"]["skewness"] + 0.5
    low, high = found["hub"]["interval"]
    assert low < found["hub"]["skewness"] < high + 1
    assert found["hub"]["most"] > 2 * found["even"]["most"]
    assert recommend.skewness(np.full(5, 3)) == 0


def test_what_is_far_is_of_another_style():
    styles = list(np.repeat(["x", "y"], 12))
    by_style = unit(np.repeat([[1.0, 0.1], [-1.0, 0.1]], 12, axis=0))
    tracks = tracks_of(list(map(str, range(24))), styles, range(24))
    found = recommend.measure_far({"style": by_style, "opposite": by_style * [1, -1]}, tracks)
    assert found["style"]["farthest"]["mean"] == 0.0
    assert found["style"]["disliked profile"]["mean"] == 0.0
    assert found["style"]["liked profile"]["mean"] == pytest.approx(0.9)  # 9 mates are left
    assert found["chance"]["farthest"]["mean"] == pytest.approx(9 / 21)


# A run


def test_a_small_run(tmp_path, write_tune, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed in range(16):
        write_tune(f"corpus/test/{'abcdefgh'[seed % 8]}/{seed}.wav", seed, duration_s=3.3)
    (tmp_path / "corpus/test/a/bad.mp3").write_bytes(b"no music" * 50)
    (tmp_path / "genres.tsv").write_text("path\tgenre\na/\tx\nb/\tx\nc/\tx\n")
    arguments = "corpus --recoded 1 --json found.json --genres genres.tsv"
    monkeypatch.setattr("sys.argv", ["recommend.py", *arguments.split()])
    assert recommend.main() == 0
    first, errors = capsys.readouterr()
    assert "role test, 16 tracks, first 180 s" in first
    assert "bad.mp3" in errors
    assert "| album (16 tracks) | excerpt | " in first
    assert "| opus 32 kbit/s | track | " in first
    stored = json.loads((tmp_path / "found.json").read_text())
    assert set(stored) == {"precision", "hubness", "farthest", "stability"}
    monkeypatch.setattr(recommend_tracks, "Listener", None)  # nothing is heard again
    (tmp_path / "corpus/test/a/bad.mp3").unlink()
    assert recommend.main() == 0
    assert capsys.readouterr().out == first


def test_the_style_of_the_corpus_is_read_from_its_list():
    listed = recommend_tracks.read_genre_list(recommend_tracks.HERE / "genres.tsv")
    path = recommend_tracks.Path("/c/test/zaz-data/usr/share/games/zaz/mus1.ogg")
    roots = [recommend_tracks.Path("/c/test")]
    found = recommend_tracks.genre_label(path, roots, GenreSource("list", listed=listed))
    assert found == "electronic"
