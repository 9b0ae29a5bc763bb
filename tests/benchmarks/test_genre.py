"""Tests of the genre benchmark: precision of neighbours, chance, intervals, and a small run."""

from __future__ import annotations

import json

import genre
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.training.genres import GenreSource


def unit(vectors) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=float)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# Precision


def test_precision_of_the_nearest():
    scores = np.asarray([[1.0, 0.9, 0.1, 0.5], [0.9, 1, 0.2, 0.3], [0.1, 0.2, 1, 0.0], [0] * 4])
    label = np.asarray([0, 0, 0, 1])
    same, others = label[:, None] == label[None], ~np.eye(4, dtype=bool)
    found = genre.precision_at(scores, same, others, (1, 2, 3))
    np.testing.assert_allclose(found[0], [1.0, 1 / 2, 2 / 3])  # 1, then 3 of another class, then 2
    np.testing.assert_allclose(found[2], [1.0, 1.0, 2 / 3])
    assert np.isnan(found[3]).all()  # nobody else is of its class
    others[0, 1] = False  # what is not allowed is passed over
    assert genre.precision_at(scores, same, others, (1,))[0, 0] == 0.0


def test_too_few_possible_neighbours():
    with pytest.raises(ValueError, match="fewer than 3 possible neighbours"):
        genre.precision_at(np.eye(3), np.ones((3, 3), bool), ~np.eye(3, dtype=bool), (1, 3))


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=5, max_size=20), st.integers(0, 999))
def test_precision_lies_below_its_ceiling(labels, seed):
    label = np.asarray(labels)
    scores = np.random.default_rng(seed).normal(size=(len(label), len(label)))
    same, others = label[:, None] == label[None], ~np.eye(len(label), dtype=bool)
    found = genre.precision_at(scores, same, others, (1, 4))
    chance, ceiling = genre.chance_and_ceiling(same, others, (1, 4))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(ceiling))
    kept = ~np.isnan(found[:, 0])
    assert (found[kept] <= ceiling[kept] + 1e-12).all()
    assert (chance[kept] <= ceiling[kept] + 1e-12).all()
    # Scores that know the class reach the ceiling.
    perfect = genre.precision_at(same.astype(float), same, others, (1, 4))
    np.testing.assert_allclose(perfect, ceiling)


def test_chance_is_what_random_scores_get():
    label = np.repeat([0, 1, 2], [2, 5, 13])
    same, others = label[:, None] == label[None], ~np.eye(20, dtype=bool)
    rng = np.random.default_rng(3)
    drawn = [genre.precision_at(rng.random((20, 20)), same, others, (1, 5)) for _ in range(500)]
    chance, _ = genre.chance_and_ceiling(same, others, (1, 5))
    np.testing.assert_allclose(np.mean(drawn, axis=(0, 1)), chance.mean(axis=0), atol=0.01)


# Intervals


def test_the_interval_holds_the_mean_and_shrinks_with_tracks():
    values = np.random.default_rng(1).random((400, 2))
    low, high = genre.bootstrap_interval(values, range(400))
    assert (low < values.mean(axis=0)).all()
    assert (values.mean(axis=0) < high).all()
    half_width = 1.96 * values.std(axis=0) / np.sqrt(400)
    np.testing.assert_allclose((high - low) / 2, half_width, rtol=0.15)
    fewer = genre.bootstrap_interval(values[:25], range(25))
    assert (fewer[1] - fewer[0] > 2 * (high - low)).all()


def test_clusters_of_equals_widen_the_interval():
    values = np.repeat(np.random.default_rng(1).random((20, 1)), 10, axis=0)
    packages = np.repeat([f"package {i}" for i in range(20)], 10)
    (low,), (high,) = genre.bootstrap_interval(values, range(200))
    (wide_low,), (wide_high,) = genre.bootstrap_interval(values, packages)
    assert wide_high - wide_low > 2 * (high - low)


def test_rows_without_a_value_are_left_out():
    values = np.asarray([[0.5], [np.nan], [0.5]])
    (low,), (high,) = genre.bootstrap_interval(values, list("abc"))
    assert (low, high) == (0.5, 0.5)


# Notions of class


def test_the_three_notions_of_class():
    # Two styles of two packages each; embeddings say the package, and nothing of the style.
    packages = np.repeat(list("abcd"), 6)
    styles = np.repeat(["x", "y", "x", "y"], 6)
    by_package = unit(np.repeat(np.eye(4), 6, axis=0) + 1e-3)
    rng = np.random.default_rng(0)
    noise = unit(rng.normal(size=(24, 50)))
    found = genre.measure([by_package, noise], packages, styles, range(24))
    assert found["package"]["n_classes"] == 4
    assert found["package"]["extractors"][0]["mean"] == pytest.approx([1.0, 1.0, 0.5])
    assert found["package"]["ceiling"] == pytest.approx([1.0, 1.0, 0.5])
    assert found["package"]["chance"] == pytest.approx([5 / 23] * 3)
    assert found["style"]["chance"] == pytest.approx([11 / 23] * 3)
    assert found["style elsewhere"]["chance"] == pytest.approx([6 / 18] * 3)
    assert found["style elsewhere"]["ceiling"] == pytest.approx([1.0, 1.0, 0.6])
    difference = found["package"]["difference"]
    low, high = np.asarray(difference["over_tracks"]).T
    assert (low > 0.2).all()
    assert (low <= difference["mean"]).all()
    assert (difference["mean"] <= high).all()


def test_tracks_that_share_material_are_no_neighbours():
    embeddings = unit(np.random.default_rng(0).normal(size=(14, 20)))
    embeddings[1] = embeddings[0]  # a copy in its own package
    packages = ["a", "a", *"bcdefghijklm"]
    alone = genre.measure([embeddings], packages, [""] * 13 + ["x"], range(14))["package"]
    assert (alone["n_tracks"], alone["extractors"][0]["mean"][0]) == (2, 1.0)
    # Nothing is left to be asked for.
    assert genre.measure([embeddings], packages, [""] * 14, [0, 0, *range(2, 14)]) == {}


# A run


def test_a_small_run(tmp_path, write_tune, tiny_weights, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed in range(16):
        write_tune(f"corpus/test/{'abcd'[seed % 4]}/{seed}.wav", seed, duration_s=4.0)
    (tmp_path / "genres.tsv").write_text("path\tgenre\na/\tx\nb/\tx\nc/\ty\nd/\ty\n")
    (tmp_path / "same.tsv").write_text("a\tb\n")
    arguments = f"corpus --extractor {tiny_weights} --genres genres.tsv --same same.tsv"
    arguments += " --max-s 3 --json found.json"
    monkeypatch.setattr("sys.argv", ["genre.py", *arguments.split()])
    assert genre.main() == 0
    first = capsys.readouterr().out
    assert "role test, 16 of 16 tracks, first 3 s" in first
    assert "| package: 16 tracks, 4 classes | `tiny-" in first
    assert "| style elsewhere | chance | 33.3 % | 33.3 % | 33.3 % |" in first
    stored = json.loads((tmp_path / "found.json").read_text())
    assert set(stored["classes"]) == {"package", "style", "style elsewhere"}
    kept = sorted((tmp_path / "runs/genre-embeddings").iterdir())
    assert len(kept) == 16
    monkeypatch.setattr("auditor.audio.isolated.load_waveform", None)  # nothing is decoded again
    assert genre.main() == 0
    assert capsys.readouterr().out == first


def test_copies_that_are_there_are_read(tmp_path, write_tune, tiny_weights, make_tune):
    from auditor.embedding.embed import embed_waveform
    from auditor.embedding.extractor import load_extractor

    path = write_tune("a.wav", 1, duration_s=4.0)
    write_tune("copies/0000.wav", 2, duration_s=4.0)
    where = {"originals": tmp_path / "copies", "cache": tmp_path / "cache", "max_s": 4.0}
    _, (found,) = genre.embed_role([str(path)], [str(tiny_weights)], **where)
    extractor = load_extractor(tiny_weights)
    wanted = embed_waveform(make_tune(2, duration_s=4.0), [extractor])[extractor.weights_id]
    np.testing.assert_allclose(found[0], wanted.embedding, atol=0.02)


def test_a_track_that_cannot_be_embedded_is_named(tmp_path, tiny_weights, capsys):
    (tmp_path / "bad.mp3").write_bytes(b"no music" * 50)
    where = {"originals": tmp_path, "cache": tmp_path / "cache", "max_s": 4.0}
    _, (found,) = genre.embed_role([str(tmp_path / "bad.mp3")], [str(tiny_weights)], **where)
    assert not found.any()
    assert "bad.mp3" in capsys.readouterr().err


def test_the_style_of_the_corpus_is_read_from_its_list():
    listed = genre.read_genre_list(genre.HERE / "genres.tsv")
    path = genre.Path("/c/test/zaz-data/usr/share/games/zaz/mus1.ogg")
    found = genre.genre_label(path, [genre.Path("/c/test")], GenreSource("list", listed=listed))
    assert found == "electronic"
