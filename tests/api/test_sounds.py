"""What recommendations and the map compare: the sound model's vectors, or the embeddings."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from small_audit import calibrate_by_hand, ids_by_name, make_library, save_small_extractor

import auditor.api.sounds
from auditor.api.map import make_atlas
from auditor.api.recommend import Query, recommend
from auditor.api.run import Options, open_threshold
from auditor.api.scan import scan
from auditor.api.sounds import read_catalogue_sounds
from auditor.embedding.sound import SoundModel, sound_statistics
from auditor.errors import ThresholdError
from auditor.scoring.base import open_scorer
from auditor.search.sounds import sounds_path
from auditor.workspace import open_workspace


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_small_extractor(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, weights):
    folder = tmp_path_factory.mktemp("scanned") / "ws"
    music = make_library(tmp_path_factory.mktemp("library") / "music")
    with open_workspace(folder, extractor=weights, write=True) as opened:
        calibrate_by_hand(folder, opened.weights_id)
        scan(opened, [music])
    return folder


@pytest.fixture
def workspace(tmp_path, scanned, weights):
    folder = shutil.copytree(scanned, tmp_path / "ws")
    with open_workspace(folder, extractor=weights) as opened:
        yield opened


@pytest.fixture
def model(workspace, monkeypatch):
    """Make a sound model that belongs to the extractor of the workspace."""
    embedding = workspace.catalogue.embeddings(workspace.weights_id)[1][0]
    groups = sound_statistics(embedding, np.full((9, 100), 80, np.uint8))
    n = sum(map(len, groups.values()))
    matrix = np.random.default_rng(0).normal(size=(n, 12)).astype(np.float32)
    made = SoundModel(
        np.zeros(n, np.float32),
        np.ones(n, np.float32),
        matrix,
        np.zeros(12, np.float32),
        extractor=workspace.weights_id,
        model_id="0a1b2c3d",
    )
    monkeypatch.setattr(auditor.api.sounds, "load_sound_model", lambda: made)
    return made


def test_without_a_model_the_embeddings_are_compared(workspace):
    sounds = read_catalogue_sounds(workspace)
    ids, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
    assert sounds.ids == ids
    assert sounds.vectors is sounds.embeddings
    np.testing.assert_array_equal(sounds.vectors, embeddings)
    assert sounds.name == f"{workspace.extractor.name}-{workspace.weights_id}"
    result = recommend(workspace, Query(of=ids[0]))
    assert result.compared_by == sounds.name
    assert not (workspace.directory / "sounds").exists()


def test_vectors_are_made_once(workspace, model, monkeypatch):
    steps = []
    sounds = read_catalogue_sounds(workspace, on_track=lambda *step: steps.append(step))
    assert (sounds.name, sounds.notes) == ("sound-0a1b2c3d", ())
    assert steps == [(n, 6) for n in range(1, 7)]  # two of the seven have the same bytes
    for track_id, embedding, vector in zip(
        sounds.ids, sounds.embeddings, sounds.vectors, strict=True
    ):
        spectrum = workspace.catalogue.spectrum(workspace.catalogue.sha256_of(track_id))
        np.testing.assert_array_equal(vector, model.embed(embedding, spectrum))
    monkeypatch.setattr(auditor.api.sounds, "read_track_spectrum", None)
    again = read_catalogue_sounds(workspace, on_track=lambda *step: steps.append(step))
    np.testing.assert_array_equal(again.vectors, sounds.vectors)
    assert len(steps) == 6


def test_recommendations_and_map_compare_them(workspace, model):
    ids = ids_by_name(workspace.catalogue)
    sounds = read_catalogue_sounds(workspace)
    vectors = dict(zip(sounds.ids, sounds.vectors, strict=True))
    result = recommend(workspace, Query(of=ids["b.wav"]))
    assert result.compared_by == "sound-0a1b2c3d"
    for answer in result.recommendations:
        wanted = float(vectors[answer.track.id] @ vectors[ids["b.wav"]])
        assert answer.score == pytest.approx(wanted, abs=1e-6)
    # Copies are known by the embeddings, as before.
    found = recommend(workspace, Query(of=ids["a.wav"])).recommendations
    assert {os.path.basename(answer.track.path) for answer in found} == {
        "b.wav", "c.flac", "d.ogg", "e.wav",
    }  # fmt: skip
    atlas = make_atlas(workspace)
    assert atlas.method.endswith("of sound-0a1b2c3d")
    scores = sounds.vectors @ sounds.vectors.T - 2 * np.eye(len(sounds.ids))
    np.testing.assert_allclose(atlas.place.scores[:, 0], scores.max(axis=1), atol=1e-6)


def test_a_file_outside_the_catalogue_gets_the_vector_of_its_content(workspace, model, tmp_path):
    ids = ids_by_name(workspace.catalogue)
    itself = workspace.catalogue.path_of(ids["b.wav"])
    copy = shutil.copy(os.fsdecode(itself), tmp_path / "elsewhere.wav")
    result = recommend(workspace, Query(of=str(copy), top=3))
    same = recommend(workspace, Query(of=ids["b.wav"], top=3))
    assert [a.track.id for a in result.recommendations] == [
        a.track.id for a in same.recommendations
    ]
    for one, other in zip(result.recommendations, same.recommendations, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-3)


def test_a_track_without_a_spectrum_is_left_out_and_said(workspace, model, monkeypatch):
    ids = ids_by_name(workspace.catalogue)
    lost = workspace.catalogue.sha256_of(ids["c.flac"])
    read = auditor.api.sounds.read_track_spectrum
    monkeypatch.setattr(
        auditor.api.sounds,
        "read_track_spectrum",
        lambda catalogue, sha256, file: None if sha256 == lost else read(catalogue, sha256, file),
    )
    sounds = read_catalogue_sounds(workspace)
    assert ids["c.flac"] not in sounds.ids
    result = recommend(workspace, Query(of=ids["b.wav"]))
    assert result.notes[-1].startswith("Tracks left out because no spectrum of them is stored")


def test_a_damaged_file_of_vectors_is_made_again(workspace, model):
    before = read_catalogue_sounds(workspace)
    path = sounds_path(workspace.directory, model.name, workspace.weights_id)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    np.testing.assert_array_equal(read_catalogue_sounds(workspace).vectors, before.vectors)
    assert path.read_bytes() == whole


def test_a_workspace_that_cannot_be_written_to_answers_all_the_same(workspace, model):
    (workspace.directory / "sounds").write_bytes(b"in the way")
    assert len(read_catalogue_sounds(workspace).vectors) == 7


def test_an_extractor_of_genres_has_no_threshold_and_says_what_to_type(workspace, monkeypatch):
    shutil.rmtree(workspace.directory / "thresholds")
    monkeypatch.setitem(workspace.extractor.summary, "classes", "genre")
    scorer = open_scorer(workspace)
    with pytest.raises(ThresholdError, match=r"Leave --extractor out; .* give --threshold 1\."):
        open_threshold(workspace, scorer, Options())
    assert (
        open_threshold(workspace, scorer, Options(threshold=1.0, compositions=False)).calibration
        is None
    )
