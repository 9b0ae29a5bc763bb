"""Bringing a catalogue up to date: what is decoded, what keeps its id, and what is refused."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections import Counter

import numpy as np
import pytest
from mutagen.id3 import ID3, TIT2
from small_audit import Log, ids_by_name, save_small_extractor, write_tune

import auditor.ingest.prepare
import auditor.ingest.session
from auditor.audio.encode import write_audio
from auditor.audio.files import find_audio
from auditor.audio.fma_tags import FmaMetadata
from auditor.embedding.config import ExtractorConfig
from auditor.embedding.embed import STAGES
from auditor.embedding.extractor import load_extractor, save_weights
from auditor.embedding.network import Network
from auditor.errors import SKIP_CODES, AudioError, TooShortError, UsageError, WorkerDiedError
from auditor.ingest.session import Ingested, fma_id, hash_file, ingest, skip
from auditor.records import Skipped
from auditor.workspace import open_workspace


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return save_small_extractor(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def music(tmp_path):
    folder = tmp_path / "music"
    for i, name in enumerate(("one.wav", "three.wav", "two.wav"), start=1):
        write_tune(folder / name, i)
    return folder


@pytest.fixture
def workspace(tmp_path, weights):
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as opened:
        yield opened


@pytest.fixture
def no_decoding(monkeypatch):
    """Return a function after which whatever would decode a file fails the test."""

    def forbid(*names: str) -> None:
        for name in names or ("embed_file",):
            forbid_calls(monkeypatch, name)

    return forbid


def forbid_calls(patch: pytest.MonkeyPatch, name: str) -> None:
    for module in (auditor.ingest.prepare, auditor.ingest.session):
        if hasattr(module, name):
            patch.setattr(module, name, lambda *a, **_: pytest.fail(f"{name}{a[:1]}"))


def run(workspace, *roots, **how) -> tuple[Ingested, Log]:
    log = Log()
    return ingest(workspace, roots, on_event=log, **how), log


def touch(path, *, seconds: int = 60) -> None:
    stat = os.stat(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + seconds * 10**9))


def missing(workspace) -> list[str]:
    return [track.id for track in workspace.catalogue.tracks() if track.missing]


def test_the_first_run_embeds_everything_and_says_where_the_time_went(workspace, music):
    events = []
    done = ingest(workspace, [music], on_event=events.append)
    assert done.counts == {"embedded": 3, "identical": 0, "unchanged": 0, "moved": 0, "skipped": 0}
    assert done.skipped == ()
    assert done.audio_s == pytest.approx(9.0, abs=0.01)
    assert set(done.seconds) == {*STAGES, "store"}
    assert all(seconds > 0 for seconds in done.seconds.values())
    assert [(e.n_done, e.n_total, e.outcome) for e in events] == [
        (i, 3, "embedded") for i in (1, 2, 3)
    ]
    assert [os.path.basename(e.path) for e in events] == ["one.wav", "three.wav", "two.wav"]
    assert [e.audio_s for e in events] == pytest.approx([3.0, 6.0, 9.0], abs=0.01)


def test_unchanged_files_are_not_even_opened(workspace, music, no_decoding):
    run(workspace, music)
    no_decoding("embed_file", "hash_file")
    done, log = run(workspace, music)
    assert log.names("unchanged") == ["one.wav", "three.wav", "two.wav"]
    assert done.audio_s == 0.0


def test_a_touched_file_is_read_once_and_not_decoded(workspace, music, no_decoding):
    run(workspace, music)
    before = workspace.catalogue.tracks()
    touch(music / "two.wav")
    no_decoding("embed_file")
    _, log = run(workspace, music)
    assert log.names("unchanged") == ["one.wav", "three.wav", "two.wav"]
    no_decoding("embed_file", "hash_file")
    run(workspace, music)
    assert workspace.catalogue.tracks() == before


def test_changed_content_is_embedded_anew_under_its_id(workspace, music):
    run(workspace, music)
    old = ids_by_name(workspace.catalogue)["two.wav"]
    _, before = workspace.catalogue.embeddings(workspace.weights_id)
    write_tune(music / "two.wav", 9)
    _, log = run(workspace, music)
    assert log.names("embedded") == ["two.wav"]
    ids, after = workspace.catalogue.embeddings(workspace.weights_id)
    assert ids_by_name(workspace.catalogue)["two.wav"] == old
    row = ids.index(old)
    assert before[row] @ after[row] < 0.9
    track = workspace.catalogue.track(old)
    assert track.sha256 == hash_file(music / "two.wav")
    assert track.size == os.path.getsize(music / "two.wav")
    assert len(workspace.catalogue.tracks()) == 3, "nothing is left behind"
    assert missing(workspace) == []
    _, log = run(workspace, music)
    assert len(log.names("unchanged")) == 3


def test_a_file_that_is_tagged_anew_keeps_its_id(workspace, music):
    path = write_tune(music / "tagged.mp3", 5)
    run(workspace, music)
    old = ids_by_name(workspace.catalogue)["tagged.mp3"]
    tags = ID3()
    tags.add(TIT2(encoding=3, text="A new title"))
    tags.save(path)
    run(workspace, music)
    assert ids_by_name(workspace.catalogue)["tagged.mp3"] == old
    assert workspace.catalogue.track(old).title == "A new title"
    assert len(workspace.catalogue.tracks()) == 4


@pytest.mark.parametrize("moved_to", ["a.wav", "z.wav"])
def test_a_moved_file_whose_name_another_takes_keeps_its_id(workspace, music, moved_to):
    run(workspace, music)
    old = ids_by_name(workspace.catalogue)["two.wav"]
    os.rename(music / "two.wav", music / moved_to)
    write_tune(music / "two.wav", 9)
    _, log = run(workspace, music)
    new = ids_by_name(workspace.catalogue)
    assert new[moved_to] == old
    assert new["two.wav"] not in {old, new["one.wav"], new["three.wav"]}
    assert log.names("embedded") == ["two.wav"]
    assert missing(workspace) == []


def test_a_file_made_a_copy_of_another_keeps_its_own_id(workspace, music):
    run(workspace, music)
    old = ids_by_name(workspace.catalogue)
    shutil.copyfile(music / "one.wav", music / "two.wav")
    run(workspace, music)
    assert ids_by_name(workspace.catalogue) == old
    assert missing(workspace) == []


def test_a_moved_file_keeps_its_id(workspace, music, no_decoding):
    run(workspace, music)
    old = ids_by_name(workspace.catalogue)
    (music / "deep").mkdir()
    os.rename(music / "two.wav", music / "deep" / "2.wav")
    no_decoding("embed_file")
    _, log = run(workspace, music)
    assert log.names("moved") == ["2.wav"]
    assert ids_by_name(workspace.catalogue)["2.wav"] == old["two.wav"]
    assert missing(workspace) == []


def test_files_that_swap_their_names_keep_their_ids(workspace, music, no_decoding):
    run(workspace, music)
    old = ids_by_name(workspace.catalogue)
    os.rename(music / "one.wav", music / "kept")
    touch(music / "two.wav")  # else size and time tell nothing
    os.rename(music / "two.wav", music / "one.wav")
    os.rename(music / "kept", music / "two.wav")
    no_decoding("embed_file")
    run(workspace, music)
    new = ids_by_name(workspace.catalogue)
    assert (new["one.wav"], new["two.wav"]) == (old["two.wav"], old["one.wav"])
    assert missing(workspace) == []


def test_files_that_are_numbered_down_keep_their_ids(workspace, music, no_decoding):
    run(workspace, music)
    old = ids_by_name(workspace.catalogue)
    for i, name in enumerate(("three.wav", "two.wav"), start=1):
        touch(music / name, seconds=100 * i)
    os.rename(music / "three.wav", music / "one.wav")
    os.rename(music / "two.wav", music / "three.wav")
    no_decoding("embed_file")
    run(workspace, music)
    tracks = {track.path: track.id for track in workspace.catalogue.tracks(present_only=True)}
    assert tracks == {
        str(music / "one.wav"): old["three.wav"],
        str(music / "three.wav"): old["two.wav"],
    }
    assert missing(workspace) == [old["one.wav"]]


def test_a_deleted_file_is_missing_until_it_comes_back(workspace, music, no_decoding):
    run(workspace, music)
    old = ids_by_name(workspace.catalogue)["two.wav"]
    os.rename(music / "two.wav", music.parent / "away.wav")
    no_decoding("embed_file", "hash_file")
    run(workspace)
    assert missing(workspace) == [old]
    assert old not in workspace.catalogue.embeddings(workspace.weights_id)[0]
    os.rename(music.parent / "away.wav", music / "two.wav")
    run(workspace)
    assert missing(workspace) == []


def test_files_of_the_same_bytes_have_ids_of_their_own_that_stay(
    workspace, music, tmp_path, weights
):
    for name in ("one-b.wav", "one-c.wav"):
        shutil.copyfile(music / "one.wav", music / name)
    run(workspace, music)
    ids = ids_by_name(workspace.catalogue)
    assert len(set(ids.values())) == 5
    assert [ids["one-b.wav"], ids["one-c.wav"], ids["one.wav"]] == [
        ids["one-b.wav"] + suffix for suffix in ("", "-2", "-3")
    ]
    run(workspace, music)
    assert ids_by_name(workspace.catalogue) == ids
    os.remove(music / "one-b.wav")
    run(workspace, music)
    assert ids_by_name(workspace.catalogue) == ids, "what is left does not move up"
    with open_workspace(tmp_path / "other", extractor=weights, write=True) as other:
        run(other, music)
        fresh = ids_by_name(other.catalogue)
    assert fresh["one-c.wav"] == ids["one-b.wav"], "a fresh catalogue begins with the plain id"
    assert fresh["two.wav"] == ids["two.wav"]


def test_a_bad_file_is_looked_at_again_only_when_it_changes(workspace, music, no_decoding):
    (music / "bad.mp3").write_bytes(b"no audio at all" * 100)
    first, log = run(workspace, music)
    assert log.names("skipped") == ["bad.mp3"]
    assert "is not audio" in first.skipped[0].reason
    with pytest.MonkeyPatch.context() as patch:
        for name in ("embed_file", "hash_file"):
            forbid_calls(patch, name)
        second, _ = run(workspace, music)
    assert second.skipped == first.skipped
    write_tune(music / "bad.mp3", 8)
    done, log = run(workspace, music)
    assert log.names("embedded") == ["bad.mp3"]
    assert done.skipped == ()
    assert workspace.catalogue.skipped() == []


def test_a_bad_file_that_is_gone_is_forgotten(workspace, music):
    (music / "bad.mp3").write_bytes(b"no audio at all" * 100)
    run(workspace, music)
    os.remove(music / "bad.mp3")
    done, _ = run(workspace, music)
    assert done.skipped == ()
    assert workspace.catalogue.skipped() == []


@pytest.mark.parametrize("same_time", [True, False])
def test_a_track_that_becomes_undecodable_and_is_mended(workspace, music, no_decoding, same_time):
    run(workspace, music)
    old = ids_by_name(workspace.catalogue)["two.wav"]
    shutil.copy2(music / "two.wav", music.parent / "copy")
    (music / "two.wav").write_bytes(b"not music any more" * 10)
    done, _ = run(workspace, music)
    assert [os.path.basename(s.path) for s in done.skipped] == ["two.wav"]
    assert missing(workspace) == [old]
    no_decoding("embed_file", "hash_file")
    done, _ = run(workspace, music)
    assert len(done.skipped) == 1, "named again, though not read again"
    assert missing(workspace) == [old]
    run(workspace)
    assert missing(workspace) == [old], "its path exists, its content does not"

    (shutil.copy2 if same_time else shutil.copyfile)(music.parent / "copy", music / "two.wav")
    with pytest.MonkeyPatch.context() as patch:
        for module in (auditor.ingest.prepare, auditor.ingest.session):
            patch.setattr(module, "hash_file", hash_file)
        done, log = run(workspace, music)
    assert log.names("unchanged") == ["one.wav", "three.wav", "two.wav"]
    assert missing(workspace) == []
    assert workspace.catalogue.skipped() == []


def test_what_another_extractor_refuses_stays_good_for_the_first(tmp_path, workspace, music):
    write_tune(music / "short.wav", 4, duration_s=2.0)
    run(workspace, music)
    needs_longer = ExtractorConfig(window_frames=320, conv_channels=(4,), lstm_size=8, n_dims=8)
    other = save_weights(Network(needs_longer).weights(), tmp_path, name="long", summary={})
    ids = workspace.catalogue.embeddings(workspace.weights_id)[0]
    second = dataclasses.replace(workspace, extractor=load_extractor(other))
    for change in (False, True):
        if change:
            touch(music / "short.wav")
        done, log = run(second, music)
        assert log.names("skipped") == ["short.wav"]
        assert "2.00 s of audio; at least" in done.skipped[0].reason
        assert workspace.catalogue.embeddings(workspace.weights_id)[0] == ids
        assert missing(workspace) == []
    _, log = run(workspace, music)
    assert log.names("skipped") == []
    assert workspace.catalogue.skipped() == []


def test_a_second_extractor_adds_its_embeddings(tmp_path, workspace, music):
    run(workspace, music)
    other = save_small_extractor(tmp_path, seed=8, name="other")
    second = dataclasses.replace(workspace, extractor=load_extractor(other))
    _, log = run(second, music)
    assert len(log.names("embedded")) == 3
    assert second.weights_id != workspace.weights_id
    ids = [workspace.catalogue.embeddings(w.weights_id)[0] for w in (workspace, second)]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 3


def test_nothing_to_take_in(workspace, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty: no audio file was found\. Give a folder with"):
        ingest(workspace, [tmp_path / "empty"])
    with pytest.raises(UsageError, match="absent does not exist"):
        ingest(workspace, [tmp_path / "absent"])
    assert ingest(workspace, []).counts["embedded"] == 0


def test_a_reader_cannot_take_in(tmp_path, music, weights):
    with open_workspace(tmp_path / "ws", extractor=weights, write=True):
        pass
    with (
        open_workspace(tmp_path / "ws", extractor=weights, write=False) as reader,
        pytest.raises(ValueError, match="opened with write=False"),
    ):
        ingest(reader, [music])


# FMA's ids.


def fma_of(*numbers: int, title: str = "Food") -> FmaMetadata:
    text = (title, "AWOL", "Life", "Hip-Hop", "[21]", "[21]", "2009-01-05", "", "CC0")
    cells = (*text, "small", "training")
    return FmaMetadata(dict.fromkeys(numbers, cells), {21: ("Hip-Hop",)})


def test_fma_id():
    fma = fma_of(2)
    assert fma_id(fma, b"/x/000/000002.mp3") == "000002"
    assert fma_id(fma, b"/x/000/000003.mp3") == ""
    assert fma_id(fma, b"/x/2.mp3") == ""
    assert fma_id(None, b"/x/000/000002.mp3") == ""


def test_fma_ids_stay_when_files_are_touched_moved_or_encoded_again(
    workspace, tmp_path, no_decoding
):
    old = write_tune(tmp_path / "fma" / "000" / "000002.mp3", 1)
    run(workspace, tmp_path / "fma", fma=fma_of(2))
    touch(old)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auditor.ingest.prepare, "embed_file", lambda *a: pytest.fail("decoded"))
        _, log = run(workspace, tmp_path / "fma", fma=fma_of(2))
        assert log.names("unchanged") == ["000002.mp3"]
        os.rename(tmp_path / "fma", tmp_path / "moved")
        _, log = run(workspace, tmp_path / "moved", fma=fma_of(2))
        assert log.names("moved") == ["000002.mp3"]
    os.remove(tmp_path / "moved" / "000" / "000002.mp3")
    write_tune(tmp_path / "new" / "000" / "000002.mp3", 2)
    _, log = run(workspace, tmp_path / "new", fma=fma_of(2))
    assert log.names("embedded") == ["000002.mp3"]
    (track,) = workspace.catalogue.tracks()
    assert (track.id, track.title, track.missing) == ("000002", "Food", False)
    assert track.path.startswith(str(tmp_path / "new"))


def test_two_files_of_one_fma_number_are_two_tracks(workspace, tmp_path, no_decoding):
    for i, folder in enumerate(("a", "b"), start=1):
        write_tune(tmp_path / folder / "000" / "000002.mp3", i)
    roots = tmp_path / "a", tmp_path / "b"
    run(workspace, *roots, fma=fma_of(2))
    ids = [track.id for track in workspace.catalogue.tracks()]
    assert ids[0] == "000002"
    assert len(ids) == 2
    no_decoding("embed_file", "hash_file")
    run(workspace, *roots, fma=fma_of(2))
    assert [track.id for track in workspace.catalogue.tracks()] == ids


def test_fma_numbers_come_later_without_decoding_again(workspace, tmp_path, no_decoding):
    paths = [write_tune(tmp_path / "000" / f"00000{n}.mp3", n) for n in (2, 3, 4)]
    run(workspace, tmp_path)
    before = {t.sha256: t.id for t in workspace.catalogue.tracks()}
    vectors = dict(zip(*workspace.catalogue.embeddings(workspace.weights_id), strict=True))
    touch(paths[1])
    no_decoding("embed_file")
    _, log = run(workspace, tmp_path, fma=fma_of(2, 3))
    assert log.names("unchanged") == ["000002.mp3", "000003.mp3", "000004.mp3"]
    tracks = workspace.catalogue.tracks()
    assert [(t.id, t.title, t.source) for t in tracks[:2]] == [
        ("000002", "Food", "fma"),
        ("000003", "Food", "fma"),
    ]
    assert (tracks[2].id, len(tracks)) == (before[tracks[2].sha256], 3)
    after = workspace.catalogue.embeddings(workspace.weights_id)[1]
    for track, vector in zip(tracks, after, strict=True):
        assert np.array_equal(vector, vectors[before[track.sha256]])
        assert len(workspace.catalogue.dvectors(track.id, workspace.weights_id)[0])
    assert workspace.catalogue.verify(hashes=True) == []
    no_decoding("embed_file", "hash_file")
    run(workspace, tmp_path, fma=fma_of(2, 3))
    assert workspace.catalogue.tracks() == tracks


def test_a_changed_file_takes_its_fma_number_and_leaves_nothing_behind(workspace, tmp_path):
    path = write_tune(tmp_path / "000" / "000002.mp3", 1)
    run(workspace, tmp_path)
    write_tune(path, 2)
    run(workspace, tmp_path, fma=fma_of(2))
    assert [(t.id, t.sha256) for t in workspace.catalogue.tracks()] == [("000002", hash_file(path))]
    path.write_bytes(b"no music")
    run(workspace, tmp_path, fma=fma_of(2))
    assert missing(workspace) == ["000002"]


def test_metadata_of_fma_that_changes_is_stored(workspace, tmp_path, no_decoding):
    write_tune(tmp_path / "000" / "000002.mp3", 1)
    run(workspace, tmp_path, fma=fma_of(2))
    no_decoding("embed_file", "hash_file")
    run(workspace, tmp_path, fma=fma_of(2, title="Electric Ave"))
    (track,) = workspace.catalogue.tracks()
    assert (track.id, track.album) == ("000002", "Life")
    assert track.title == "Electric Ave"


# Small parts.


def test_hash_file(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert hash_file(os.fsencode(tmp_path / "x")) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@pytest.mark.parametrize(
    ("error", "reason", "code", "retry"),
    [
        (AudioError("/m/x.mp3: is empty.", code="empty"), "is empty.", "empty", False),
        (AudioError("x.mp3: is no audio."), "is no audio.", "unreadable", False),
        (AudioError("other: is empty."), "other: is empty.", "unreadable", False),
        (TooShortError("x.mp3: 1 s"), "1 s", "too-short", False),
        (WorkerDiedError("x.mp3: died"), "died", "crashed", True),
        (FileNotFoundError(2, "No"), "disappeared during the scan", "not-found", True),
        (PermissionError(13, "Denied"), "cannot be read: Denied", "denied", True),
        (OSError(5, "I/O error"), "cannot be read: I/O error", "io-error", True),
    ],
)
def test_a_skipped_file_has_a_reason_a_code_and_whether_to_try_again(error, reason, code, retry):
    assert skip(b"/m/x.mp3", error, "ab") == Skipped("/m/x.mp3", reason, code, "ab", retry)
    assert code in SKIP_CODES


def test_a_silent_file_is_stored_as_such(workspace, tmp_path):
    write_audio(tmp_path / "hush.wav", np.zeros(48_000, np.float32), codec="wav")
    _, log = run(workspace, tmp_path / "hush.wav")
    assert log.names("embedded") == ["hush.wav"]
    (track,) = workspace.catalogue.tracks()
    assert track.silent
    assert workspace.catalogue.embeddings(workspace.weights_id)[0] == []
    _, log = run(workspace, tmp_path / "hush.wav")
    assert log.names("unchanged") == ["hush.wav"]


def test_a_file_too_short_for_one_extractor_is_tried_by_another(tmp_path, weights):
    write_tune(tmp_path / "music" / "short.wav", 1, duration_s=2.0)
    write_tune(tmp_path / "music" / "long.wav", 2, duration_s=6.0)
    config = ExtractorConfig(window_frames=320, conv_channels=(4,), lstm_size=8, n_dims=8)
    longer = save_weights(Network(config).weights(), tmp_path / "longer", name="longer", summary={})
    with open_workspace(tmp_path / "ws", extractor=longer, write=True) as workspace:
        done, _ = run(workspace, tmp_path / "music")
        assert [s.reason for s in done.skipped] == [
            "2.00 s of audio; at least 2.98 s are needed. Give a longer excerpt."
        ]
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as workspace:
        assert run(workspace, tmp_path / "music")[0].counts["embedded"] == 2


def test_a_folder_reached_by_a_link_is_the_same_folder(workspace, music, tmp_path):
    (tmp_path / "link").symlink_to(music, target_is_directory=True)
    assert run(workspace, music)[0].counts["embedded"] == 3
    assert run(workspace, tmp_path / "link")[0].counts["unchanged"] == 3


def test_files_of_the_same_bytes_are_decoded_once(workspace, music, monkeypatch):
    """Also what fails, and also a file that comes in a later run."""
    decoded = []
    embed = auditor.ingest.prepare.embed_file

    def note(path, extractors):
        decoded.append(os.path.basename(os.fsdecode(path)))
        return embed(path, extractors)

    monkeypatch.setattr(auditor.ingest.prepare, "embed_file", note)
    for i in range(5):
        shutil.copyfile(music / "two.wav", music / f"two-{i}.wav")
        (music / f"bad-{i}.wav").write_bytes(b"RIFF no audio" * 99)
    log = Log()
    done = ingest(workspace, [music], on_event=log)
    assert decoded == ["bad-0.wav", "one.wav", "three.wav", "two-0.wav"]
    assert (done.counts["embedded"], done.counts["identical"], done.counts["skipped"]) == (3, 5, 5)
    assert len({skipped.reason for skipped in done.skipped}) == 1
    shutil.copyfile(music / "one.wav", music / "one-again.wav")
    assert ingest(workspace, [music]).counts["identical"] == 1
    assert len(decoded) == 4
    ids = ids_by_name(workspace.catalogue)
    stored = [
        workspace.catalogue.dvectors(ids[f"two-{i}.wav"], workspace.weights_id)[0] for i in (0, 4)
    ]
    assert np.array_equal(*stored)
    assert len({ids[name] for name in ids if name.startswith("two")}) == 6


def test_a_copy_that_changes_before_its_turn_is_not_taken_for_one(workspace, music, monkeypatch):
    shutil.copyfile(music / "one.wav", music / "zero.wav")
    changed = []

    def on_event(event):
        if not changed:
            changed.append(write_tune(music / "zero.wav", 9, duration_s=4.0))

    done = ingest(workspace, [music], on_event=on_event)
    (skipped,) = done.skipped
    assert skipped.path.endswith("zero.wav")
    assert "changed while it was read" in skipped.reason


def test_other_bytes_of_one_size_and_one_beginning_are_no_copies(tmp_path):
    size = auditor.ingest.session.HEAD_BYTES + 1
    for name, last in (("a.wav", b"a"), ("b.wav", b"b"), ("c.wav", b"a"), ("d.wav", b"c")):
        (tmp_path / name).write_bytes(b"x" * (size - 1) + last)
    (tmp_path / "e.wav").write_bytes(b"y" * size)
    hashes = auditor.ingest.session.hash_alike(find_audio([tmp_path]).files)
    assert [os.path.basename(found.path) for found in hashes] == [
        b"a.wav",
        b"b.wav",
        b"c.wav",
        b"d.wav",
    ]
    copies = auditor.ingest.session.find_copies(hashes)
    assert [os.path.basename(found.path) for found in copies] == [b"c.wav"]
    assert set(copies.values()) == {hash_file(tmp_path / "a.wav")}


def test_files_that_begin_alike_are_read_once_to_hash_them(workspace, music, monkeypatch):
    alike = bytearray((music / "one.wav").read_bytes())
    alike[-1] ^= 1
    (music / "alike.wav").write_bytes(alike)
    shutil.copyfile(music / "one.wav", music / "same.wav")
    hashed = Counter()

    def count(path, *, n_bytes=None):
        if n_bytes is None:
            hashed[os.path.basename(os.fsdecode(path))] += 1
        return hash_file(path, n_bytes=n_bytes)

    for module in (auditor.ingest.session, auditor.ingest.prepare):
        monkeypatch.setattr(module, "hash_file", count)
    counts = ingest(workspace, [music]).counts
    assert counts["identical"] == 1
    assert counts["skipped"] == 0
    assert {"alike.wav", "one.wav", "same.wav"} <= set(hashed)
    assert set(hashed.values()) == {1}
    hashes = {os.path.basename(t.path): t.sha256 for t in workspace.catalogue.tracks()}
    assert all(hashes[name] == hash_file(music / name) for name in hashes)


def rewrite(path, change, *, replace=False):
    """Change bytes of a file and set its times back, as taggers that keep times do."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    change(data)
    target = path.with_name("part") if replace else path
    target.write_bytes(data)
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    if replace:
        target.rename(path)
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def invert(data):
    data[len(data) // 2] ^= 1


@pytest.mark.parametrize("replace", [False, True])
def test_other_bytes_under_the_same_size_and_time_are_noticed(workspace, music, replace):
    ingest(workspace, [music])
    before = {track.path: track.sha256 for track in workspace.catalogue.tracks()}
    rewrite(music / "one.wav", invert, replace=replace)
    (problem,) = workspace.catalogue.verify()
    assert "one.wav has other bytes under the same size and time. Run: audit scan DIR" in problem
    log = Log()
    ingest(workspace, [music], on_event=log)
    assert log.names("embedded") == ["one.wav"]
    after = {track.path: track.sha256 for track in workspace.catalogue.tracks()}
    assert [path for path in before if before[path] != after[path]] == [str(music / "one.wav")]
    assert workspace.catalogue.verify() == []


def test_a_file_that_was_touched_and_holds_what_it_did_is_not_embedded_anew(
    workspace, music, no_decoding, monkeypatch
):
    ingest(workspace, [music])
    rewrite(music / "one.wav", lambda data: None)
    (music / "two.wav").chmod(0o600)
    no_decoding()
    assert workspace.catalogue.verify() == []
    assert ingest(workspace, [music]).counts["unchanged"] == 3
    monkeypatch.setattr(auditor.ingest.prepare, "hash_file", lambda *a: pytest.fail("read again"))
    assert ingest(workspace, [music]).counts["unchanged"] == 3


def test_a_catalogue_without_inodes_takes_size_and_time_as_before(
    workspace, music, no_decoding, monkeypatch
):
    ingest(workspace, [music])
    workspace.catalogue._connection.execute("UPDATE tracks SET ctime_ns = NULL, inode = NULL")
    (music / "two.wav").chmod(0o600)
    no_decoding()
    monkeypatch.setattr(auditor.ingest.prepare, "hash_file", lambda *a: pytest.fail("read"))
    assert ingest(workspace, [music]).counts["unchanged"] == 3


def test_a_bad_file_that_was_mended_with_its_time_kept_is_looked_at_again(workspace, music):
    good = (music / "one.wav").read_bytes()
    (music / "one.wav").write_bytes(b"x" * len(good))
    assert ingest(workspace, [music]).counts["skipped"] == 1
    rewrite(music / "one.wav", lambda data: data.__setitem__(slice(None), good))
    assert ingest(workspace, [music]).counts["embedded"] == 1
