"""Recommendations: nearest, profiles, dislikes, farthest, and never the query's own copies."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from small_audit import (
    THRESHOLD,
    calibrate_by_hand,
    ids_by_name,
    make_library,
    save_small_extractor,
    write_tune,
)

import auditor.api.recommend
from auditor.api.profiles import load_profile, save_profile
from auditor.api.recommend import Query, recommend
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.audio.encode import write_audio
from auditor.errors import AudioError, CatalogueError, ThresholdError, UsageError
from auditor.records import result_from_json, to_json
from auditor.search.vectors import exact_scores
from auditor.workspace import open_workspace

AUDIBLE = ("a.wav", "a-again.mp3", "a-same.wav", "b.wav", "c.flac", "d.ogg", "e.wav")


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return save_small_extractor(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return make_library(tmp_path_factory.mktemp("library") / "music")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, library, weights):
    """Return a calibrated workspace of the library, which no test changes."""
    folder = tmp_path_factory.mktemp("workspace") / "ws"
    with open_workspace(folder, extractor=weights, write=True) as opened:
        calibrate_by_hand(folder, opened.weights_id)
        scan(opened, [library])
    with open_workspace(folder, extractor=weights, write=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def ids(workspace):
    return ids_by_name(workspace.catalogue)


@pytest.fixture(scope="module")
def vectors(workspace):
    names, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
    return dict(zip(names, embeddings, strict=True))


def names(result) -> list[str]:
    return [os.path.basename(answer.track.path) for answer in result.recommendations]


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_nearest_to_a_track(workspace, ids, vectors):
    result = recommend(workspace, Query(of=ids["b.wav"]), command="audit recommend")
    assert sorted(names(result)) == sorted(set(AUDIBLE) - {"b.wav", "a-same.wav"})
    assert {os.path.basename(p) for answer in result.recommendations for p in answer.same} == {
        "a-same.wav"
    }
    scores = [answer.score for answer in result.recommendations]
    assert scores == sorted(scores, reverse=True)
    for answer in result.recommendations:
        assert answer.score == pytest.approx(
            float(vectors[answer.track.id] @ vectors[ids["b.wav"]]), abs=1e-6
        )
        assert answer.nearest_to == ids["b.wav"]
    assert result.n_tracks == 7
    assert result.notes == ()
    assert result.query == {"of": (ids["b.wav"],), "like": (), "dislike": (), "farthest": ()}
    assert result.provenance.command == "audit recommend"
    assert result_from_json(to_json(result)) == result


def test_copies_are_left_out_unless_asked_for(workspace, ids):
    query = Query(of=ids["a.wav"])
    assert set(names(recommend(workspace, query))) == {"b.wav", "c.flac", "d.ogg", "e.wav"}
    with_copies = recommend(workspace, Query(of=ids["a.wav"], copies=True))
    assert names(with_copies)[:2] == ["a-same.wav", "a-again.mp3"]
    assert "a.wav" not in names(with_copies)


def test_top(workspace, ids):
    everything = recommend(workspace, Query(of=ids["b.wav"]))
    for top in (1, 2, 3, 50):
        result = recommend(workspace, Query(of=ids["b.wav"], top=top))
        assert names(result) == names(everything)[:top]
    with pytest.raises(UsageError, match="--top is 0; it must be at least 1"):
        recommend(workspace, Query(of=ids["b.wav"], top=0))


def test_a_profile_is_the_normalised_mean_of_the_liked(workspace, ids, vectors):
    liked = ids["b.wav"], ids["c.flac"]
    result = recommend(workspace, Query(like=liked))
    profile = unit(unit(vectors[liked[0]] + vectors[liked[1]]))
    for answer in result.recommendations:
        vector = vectors[answer.track.id]
        assert answer.score == pytest.approx(float(profile @ vector), abs=1e-6)
        assert answer.nearest_to == max(liked, key=lambda i: float(vectors[i] @ vector))
    assert not {answer.track.id for answer in result.recommendations} & set(liked)
    assert "normalised mean of 2 tracks" in result.notes[0]
    also = recommend(workspace, Query(of=liked[0], like=liked[1:]))
    assert names(also) == names(result), "the track of the query counts as liked"


def test_dislikes_are_answered_by_the_negated_mean(workspace, ids, vectors):
    disliked = ids["b.wav"], ids["e.wav"]
    result = recommend(workspace, Query(dislike=disliked))
    target = -unit(vectors[disliked[0]] + vectors[disliked[1]])
    scores = {i: float(vectors[i] @ target) for i in vectors if i not in disliked}
    expected = sorted(scores, key=scores.get, reverse=True)
    got = [answer.track.id for answer in result.recommendations]
    assert set(expected) - set(got) == {ids["a-same.wav"]}, "the same bytes are one answer"
    expected.remove(ids["a-same.wav"])
    assert [scores[i] for i in got] == pytest.approx([scores[i] for i in expected], abs=1e-6)
    assert all(answer.nearest_to == "" for answer in result.recommendations)
    assert any("subtracted" in note for note in result.notes)


def test_likes_and_dislikes_together(workspace, ids, vectors):
    result = recommend(workspace, Query(like=(ids["b.wav"],), dislike=(ids["c.flac"],)))
    target = unit(vectors[ids["b.wav"]] - vectors[ids["c.flac"]])
    for answer in result.recommendations:
        assert answer.score == pytest.approx(float(target @ vectors[answer.track.id]), abs=1e-6)


def test_farthest_turns_the_order_round_and_keeps_the_scores(workspace, ids):
    near = recommend(workspace, Query(of=ids["b.wav"]))
    far = recommend(workspace, Query(of=ids["b.wav"], farthest=True))
    assert [a.score for a in far.recommendations] == pytest.approx(
        [a.score for a in reversed(near.recommendations)]
    )
    assert far.recommendations[0].score < 0
    assert any("Farthest first" in note for note in far.notes)
    assert far.query["farthest"] == ("yes",)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_nothing_of_the_query_and_no_copy_of_it_is_ever_recommended(workspace, ids, vectors, data):
    chosen = data.draw(st.lists(st.sampled_from(AUDIBLE), min_size=1, max_size=4, unique=True))
    n_liked = data.draw(st.integers(0, len(chosen)))
    like, dislike = chosen[:n_liked], chosen[n_liked:]
    query = Query(
        like=tuple(ids[name] for name in like),
        dislike=tuple(ids[name] for name in dislike),
        farthest=data.draw(st.booleans()),
        top=data.draw(st.integers(1, 8)),
    )
    try:
        result = recommend(workspace, query)
    except UsageError:  # two copies cancel each other out
        reject()
    asked = np.stack([vectors[i] for i in (*query.like, *query.dislike)])
    for answer in result.recommendations:
        assert answer.track.id not in (*query.like, *query.dislike)
        vector = vectors[answer.track.id][None]
        for row in range(len(asked)):
            assert exact_scores(asked, [row], [0], others=vector)[0] < THRESHOLD


def test_a_file_as_the_query(workspace, ids, tmp_path):
    path = write_tune(tmp_path / "b-again.flac", 2)
    result = recommend(workspace, Query(of=str(path)))
    assert "b.wav" not in names(result), "it is a flagged copy of the file"
    assert all(answer.nearest_to == str(path) for answer in result.recommendations)
    with_copies = recommend(workspace, Query(of=str(path), copies=True))
    assert names(with_copies)[0] == "b.wav"
    assert with_copies.recommendations[0].score == pytest.approx(1.0, abs=1e-3)


def test_a_file_of_the_catalogue_never_recommends_itself(workspace, ids, library, monkeypatch):
    monkeypatch.chdir(library)
    by_file = recommend(workspace, Query(of="a.wav", copies=True))
    by_id = recommend(workspace, Query(of=ids["a.wav"], copies=True))
    assert names(by_file) == names(by_id)
    assert "a.wav" not in names(by_file)


def test_a_file_of_the_catalogue_is_not_decoded_again(
    workspace, ids, library, tmp_path, monkeypatch
):
    (tmp_path / "mlink").symlink_to(library, target_is_directory=True)
    monkeypatch.setattr(auditor.api.recommend, "embed_file", lambda *a: pytest.fail("decoded"))
    for path in (library / "b.wav", tmp_path / "mlink" / "b.wav"):
        by_file = recommend(workspace, Query(of=str(path), copies=True))
        by_id = recommend(workspace, Query(of=ids["b.wav"], copies=True))
        assert [(a.track.id, a.score) for a in by_file.recommendations] == [
            (a.track.id, a.score) for a in by_id.recommendations
        ]
        assert "b.wav" not in names(by_file)


def test_a_changed_file_behind_a_link_never_recommends_itself(tmp_path, weights):
    music = make_library(tmp_path / "music")
    (tmp_path / "mlink").symlink_to(music, target_is_directory=True)
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as opened:
        scan(opened, [music], options=Options(threshold=THRESHOLD, compositions=False))
        write_tune(music / "b.wav", 3)
        result = recommend(opened, Query(of=str(tmp_path / "mlink" / "b.wav"), copies=True))
    assert names(result)[0] == "c.flac", "it is decoded as it is now"
    assert "b.wav" not in names(result)


def test_a_file_whose_name_is_no_unicode(workspace, tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\n.wav"
    shutil.copyfile(write_tune(tmp_path / "x.wav", 3), path)
    result = recommend(workspace, Query(of=os.fsdecode(path)))
    to_json(result).encode("utf-8")
    assert result.query["of"][0].endswith(r"/\xff\n.wav")
    assert result.recommendations[0].nearest_to == result.query["of"][0]


def test_without_a_threshold_it_says_that_copies_stay(tmp_path, library, weights):
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as opened:
        scan(opened, [library], options=Options(threshold=THRESHOLD, compositions=False))
        ids = ids_by_name(opened.catalogue)
        result = recommend(opened, Query(of=ids["a.wav"]))
        assert names(result)[0] == "a-same.wav"
        assert result.notes == (
            "No threshold is calibrated, so copies of the query are not left out.",
        )
        calibrate_by_hand(opened.directory, opened.weights_id, threshold=0.9)
        (opened.directory / "thresholds" / "broken.json").write_text("{")
        with pytest.raises(ThresholdError, match=r"broken\.json is not a threshold file"):
            recommend(opened, Query(of=ids["a.wav"]))


def test_when_all_are_copies(tmp_path, weights):
    for name in ("x.wav", "y.mp3"):
        write_tune(tmp_path / "music" / name, 1)
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as opened:
        calibrate_by_hand(opened.directory, opened.weights_id)
        scan(opened, [tmp_path / "music"])
        first = opened.catalogue.tracks()[0].id
        with pytest.raises(UsageError, match="every track of the catalogue is part of the query"):
            recommend(opened, Query(of=first))


def test_what_cannot_be_asked(workspace, ids, tmp_path):
    with pytest.raises(UsageError, match=r"no track was given\. Give an ID or a file"):
        recommend(workspace, Query())
    with pytest.raises(CatalogueError, match="no track has the id 'nosuch'"):
        recommend(workspace, Query(of="nosuch"))
    with pytest.raises(CatalogueError, match=f"Did you mean .*{ids['b.wav']}"):
        recommend(workspace, Query(like=(ids["b.wav"] + "x",)))
    with pytest.raises(CatalogueError, match=f"{ids['hush.wav']} is silent, so it cannot"):
        recommend(workspace, Query(dislike=(ids["hush.wav"],)))
    with pytest.raises(UsageError, match="cancel each other out"):
        recommend(workspace, Query(like=(ids["b.wav"],), dislike=(ids["b.wav"],)))
    write_audio(tmp_path / "hush.wav", np.zeros(48_000, np.float32), codec="wav")
    with pytest.raises(UsageError, match=r"hush\.wav: is silent\. Give a file with sound"):
        recommend(workspace, Query(of=str(tmp_path / "hush.wav")))
    (tmp_path / "text.mp3").write_text("no audio " * 99)
    with pytest.raises(AudioError, match=r"text\.mp3: is not audio"):
        recommend(workspace, Query(of=str(tmp_path / "text.mp3")))
    with pytest.raises(AudioError, match="is a folder"):
        recommend(workspace, Query(of=str(tmp_path)))


def test_missing_and_foreign_tracks_have_nothing_to_compare(tmp_path, weights):
    for i, name in enumerate(("x.wav", "y.wav", "z.wav")):
        write_tune(tmp_path / "music" / name, i)
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as opened:
        scan(opened, [tmp_path / "music"], options=Options(threshold=THRESHOLD, compositions=False))
        gone = ids_by_name(opened.catalogue)["y.wav"]
        (tmp_path / "music" / "y.wav").unlink()
        scan(opened, options=Options(threshold=THRESHOLD, compositions=False))
        with pytest.raises(CatalogueError, match=f"{gone} is missing, so it cannot"):
            recommend(opened, Query(of=gone))
    other = save_small_extractor(tmp_path, seed=8, name="other")
    with (
        open_workspace(tmp_path / "ws", extractor=other, write=True) as opened,
        pytest.raises(CatalogueError, match="holds no track embedded by other"),
    ):
        recommend(opened, Query(of=gone))


# Files, and profiles by name.


def test_files_may_be_liked_and_disliked(workspace, library, ids, tmp_path):
    by_id = recommend(workspace, Query(like=(ids["b.wav"],), dislike=(ids["e.wav"],)))
    files = str(library / "b.wav"), str(library / "e.wav")
    by_file = recommend(workspace, Query(like=files[:1], dislike=files[1:]))
    assert [(r.track.id, r.score) for r in by_file.recommendations] == [
        (r.track.id, r.score) for r in by_id.recommendations
    ]
    assert by_file.query["like"] == files[:1]
    strange = write_tune(tmp_path / "b-again.ogg", 2)
    found = recommend(workspace, Query(like=(str(strange), ids["e.wav"]), copies=True))
    assert names(found)[0] == "b.wav"
    assert "e.wav" not in names(found)
    assert found.recommendations[0].nearest_to == str(strange)
    with pytest.raises(CatalogueError, match="no track has the id 'nothing'"):
        recommend(workspace, Query(dislike=("nothing",)))


def test_a_profile_comes_back_by_its_name(workspace, library, ids, tmp_path):
    strange = write_tune(tmp_path / "strange.wav", 50)
    save_profile(workspace, "mine", like=[ids["b.wav"], str(strange)], dislike=[ids["e.wav"]])
    like, dislike = load_profile(workspace, "mine")
    assert (like, dislike) == ((ids["b.wav"], str(strange)), (ids["e.wav"],))
    save_profile(workspace, "mine", like=[str(library / "c.flac")])
    assert load_profile(workspace, "mine") == ((ids["c.flac"],), ())
    save_profile(workspace, "strange", like=[str(strange)])
    strange.unlink()
    with pytest.raises(UsageError, match=r"strange\.wav is neither in the catalogue nor a file"):
        load_profile(workspace, "strange")
    with pytest.raises(UsageError, match="no profile other; profiles: mine, strange"):
        load_profile(workspace, "other")
    for name in ("../x", "", ".hidden", "a/b", "x" * 65):
        with pytest.raises(UsageError, match="cannot name a profile"):
            save_profile(workspace, name, like=[ids["b.wav"]])
    with pytest.raises(CatalogueError, match="no track has the id 'nothing'"):
        save_profile(workspace, "mine", like=["nothing"])
    for text in ("{", '{"like": 3}', '{"like": [{"sha256": 1, "path": "x"}]}'):
        (workspace.directory / "profiles" / "mine.json").write_text(text)
        with pytest.raises(UsageError, match="is no profile"):
            load_profile(workspace, "mine")
