"""Scans and checks of music in an object store: what a folder gives, and no object lost."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import time
from pathlib import Path

import forks
import fsspec
import numpy as np
import pytest
from small_audit import (
    THRESHOLD,
    TUNE_S,
    Log,
    facts,
    ids_by_name,
    make_library,
    save_small_extractor,
    write_tune,
)
from small_store import FaultyStore, upload
from tunes import tune
from typer.testing import CliRunner

from auditor.api.check import check
from auditor.api.recommend import Query, recommend
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.audio.encode import write_audio
from auditor.cli import app
from auditor.decisions.review import copy_object
from auditor.errors import UsageError
from auditor.ingest.session import Ingested, ingest
from auditor.records import Track, result_from_json
from auditor.report.media.build import make_media
from auditor.scoring.track_reader import CatalogueReader
from auditor.workspace import Workspace, open_workspace

OPTIONS = Options(threshold=THRESHOLD, compositions=False)
URL = "faulty:///music/"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_small_extractor(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    folder = make_library(tmp_path_factory.mktemp("library") / "music")
    (folder / "bad.mp3").write_bytes(b"nothing")
    return folder


@pytest.fixture
def workspace(tmp_path, weights):
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as opened:
        yield opened


@pytest.fixture
def tunes(store, tmp_path) -> str:
    """Store three tunes, and return their URL."""
    for i, name in enumerate(("one.wav", "three.wav", "two.wav"), start=1):
        write_tune(tmp_path / "tunes" / name, i)
    return upload(store, tmp_path / "tunes")


def run(workspace: Workspace, *roots: str | Path) -> tuple[Ingested, Log]:
    log = Log()
    return ingest(workspace, [*roots], on_event=log), log


def missing(workspace: Workspace) -> list[str]:
    return [t.path.rsplit("/", 1)[-1] for t in workspace.catalogue.tracks() if t.missing]


def test_a_store_gives_what_a_folder_gives(store, copies, library, weights, tmp_path):
    with open_workspace(tmp_path / "a", extractor=weights, write=True) as one:
        expected = facts(scan(one, [library], options=OPTIONS))
    assert len(expected["pairs"]) == 2
    with open_workspace(tmp_path / "b", extractor=weights, write=True) as other:
        found = facts(scan(other, [upload(store, library)], options=OPTIONS))
    found = json.loads(json.dumps(found).replace(URL, f"{library}/"))
    for result in (expected, found):  # objects are not fetched again to see what an encoder took
        for cluster in result["clusters"]:
            del cluster["original"], cluster["original_why"]
    assert found == expected
    assert sorted(store.opened) == sorted(p.name for p in library.rglob("*.*"))  # each once


def test_what_is_unchanged_is_not_opened(tunes, workspace, copies, store):
    assert run(workspace, tunes)[0].counts["embedded"] == 3
    store.opened.clear()
    assert run(workspace, tunes)[0].counts["unchanged"] == 3
    assert store.opened == []


def test_a_changed_object_is_embedded_again_and_keeps_its_id(
    tunes, workspace, copies, store, tmp_path
):
    run(workspace, tunes)
    before = ids_by_name(workspace.catalogue)
    store.pipe_file("/music/two.wav", write_tune(tmp_path / "new.wav", 9).read_bytes())
    store.store["/music/two.wav"].created += datetime.timedelta(seconds=1)
    store.opened.clear()
    assert run(workspace, tunes)[1].names("embedded") == ["two.wav"]
    assert store.opened == ["two.wav"]
    assert ids_by_name(workspace.catalogue) == before


def test_objects_go_move_and_come_back(tunes, workspace, copies, store):
    run(workspace, tunes)
    content = store.store["/music/two.wav"].getvalue()
    store.rm("/music/two.wav")
    run(workspace, tunes)
    assert missing(workspace) == ["two.wav"]
    store.pipe_file("/music/two.wav", content)
    run(workspace, tunes)
    assert missing(workspace) == []
    ids = ids_by_name(workspace.catalogue)
    store.mv("/music/two.wav", "/music/sub/second.wav")
    assert run(workspace, tunes)[1].outcomes["second.wav"] == "moved"
    assert ids_by_name(workspace.catalogue)["second.wav"] == ids["two.wav"]
    assert missing(workspace) == []


def test_objects_below_another_url_are_left_as_they_are(tunes, workspace, copies, store, tmp_path):
    run(workspace, tunes)
    store.rm("/music/two.wav")
    store.pipe_file("/music2/four.wav", write_tune(tmp_path / "four.wav", 4).read_bytes())
    run(workspace, "faulty://music2")
    FaultyStore.failure = ConnectionError("out of reach")
    write_tune(tmp_path / "here" / "five.wav", 5)
    FaultyStore.opened.clear()
    (tmp_path / "here" / "four.wav").write_bytes((tmp_path / "four.wav").read_bytes())
    run(workspace, tmp_path / "here")  # nothing of the store is asked
    FaultyStore.failure = None
    store.rm("/music2/four.wav")
    (tmp_path / "here" / "again.wav").write_bytes((tmp_path / "four.wav").read_bytes())
    run(workspace, tmp_path / "here")
    assert FaultyStore.opened == []
    assert sum(path.endswith(b"/music2/four.wav") for path in workspace.catalogue.stamps()) == 1
    FaultyStore.failure = ConnectionError("out of reach")
    run(workspace)
    assert missing(workspace) == []
    FaultyStore.failure = None
    run(workspace, tunes)
    assert missing(workspace) == ["two.wav"]
    assert len(workspace.catalogue.tracks()) == 7


def test_an_object_asked_for_by_name_says_nothing_of_those_below(tunes, workspace, copies, store):
    class Both(FaultyStore):
        """S3 and its like may hold an object and others below its name."""

        protocol = "both"

        def info(self, path, **how):
            where = "/music.object" if path == "/music" else path
            return super().info(where, **how) | {"name": path}

        def open(self, path, mode="rb", **how):
            return super().open("/music.object" if path == "/music" else path, mode, **how)

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.removeprefix("both://"))

    fsspec.register_implementation("both", Both, clobber=True)
    store.pipe_file("/music.object", store.store["/music/two.wav"].getvalue())
    run(workspace, "both://music/")
    assert len(workspace.catalogue.tracks()) == 3
    run(workspace, "both://music")
    assert missing(workspace) == []
    assert len(workspace.catalogue.tracks()) == 4


def test_nothing_is_lost_while_a_store_is_out_of_reach(tunes, workspace, copies, tmp_path, store):
    run(workspace, tunes)
    before = workspace.catalogue.stamps()
    FaultyStore.failure = ConnectionError("no route")
    with pytest.raises(
        UsageError, match=r"faulty://music cannot be listed: .*no route.*nothing was changed"
    ):
        run(workspace, tunes, tmp_path / "tunes")
    assert workspace.catalogue.stamps() == before
    # What a folder holds as well is not taken for what a store has lost.
    assert run(workspace, tmp_path / "tunes")[0].counts["identical"] == 3
    assert workspace.catalogue.stamps().items() > before.items()
    assert missing(workspace) == []
    FaultyStore.failure = None
    store.rm("/music", recursive=True)
    with pytest.raises(UsageError, match="faulty://music does not exist"):
        run(workspace, tunes)
    assert missing(workspace) == []


def test_what_cannot_be_read_is_named_and_looked_at_again(tunes, workspace, copies, store):
    FaultyStore.cut = 100
    done = run(workspace, tunes)[0]
    assert done.counts == {"embedded": 0, "identical": 0, "unchanged": 0, "moved": 0, "skipped": 3}
    assert done.skipped[0].path == f"{URL}one.wav"
    assert done.skipped[0].reason.startswith("cannot be read: ")
    FaultyStore.cut = 0
    assert run(workspace, tunes)[0].counts["embedded"] == 3
    assert workspace.catalogue.skipped() == []


def test_an_object_that_changes_while_it_is_read_is_skipped(tunes, workspace, copies, store):
    class Overtaken(Log):
        def __call__(self, event):
            super().__call__(event)
            if event.path.endswith("one.wav"):  # the next one was listed, and not read
                store.pipe_file("/music/three.wav", b"other bytes")

    log = Overtaken()
    done = ingest(workspace, [tunes], on_event=log)
    assert log.names("skipped") == ["three.wav"]
    assert done.skipped[0].reason == "changed while it was read. Scan again."
    assert run(workspace, tunes)[1].names("skipped") == ["three.wav"]
    assert workspace.catalogue.skipped()[0].reason.startswith("is not audio that FFmpeg can read")


def test_a_folder_and_a_store_are_scanned_together(tunes, workspace, copies, tmp_path, store):
    write_tune(tmp_path / "more" / "five.wav", 5)
    result = scan(workspace, [tmp_path / "more", tunes, f"{tunes}/one.wav"], options=OPTIONS)
    assert result.n_tracks == 4
    (tmp_path / "more" / "five.wav").unlink()
    run(workspace, tunes)
    assert missing(workspace) == ["five.wav"]


def test_an_extension_matters_below_a_url_alone(workspace, copies, store, tmp_path):
    data = write_tune(tmp_path / "one.wav", 1).read_bytes()
    store.pipe_file("/music/one.take", data)
    with pytest.raises(UsageError, match="faulty://music: no audio file was found"):
        run(workspace, "faulty://music")
    assert run(workspace, "faulty://music/one.take")[0].counts["embedded"] == 1
    store.pipe_file("/music/.one.wav", write_tune(tmp_path / "hidden.wav", 2).read_bytes())
    assert run(workspace, "faulty://music/.one.wav")[0].counts["embedded"] == 1
    store.pipe_file("/music/two.wav", write_tune(tmp_path / "two.wav", 3).read_bytes())
    assert run(workspace, "faulty://music")[1].outcomes == {"two.wav": "embedded"}
    assert missing(workspace) == []  # what is left out is not taken for gone


def test_an_object_is_checked_and_added(tunes, workspace, copies, store, tmp_path):
    run(workspace, tunes)
    store.pipe_file("/new/again.flac", write_tune(tmp_path / "again.flac", 2).read_bytes())
    result = check(workspace, ["faulty://new/again.flac"], options=OPTIONS, add=True)
    (pair,) = (pair for pair in result.pairs if pair.flagged)
    assert pair.b == ids_by_name(workspace.catalogue)["three.wav"]
    assert result.submissions[0].path == "faulty:///new/again.flac"
    assert ids_by_name(workspace.catalogue).keys() > {"again.flac"}
    store.opened.clear()  # itself in the catalogue now: neither opened nor compared with itself
    again = check(workspace, ["faulty://new/again.flac"], options=OPTIONS)
    assert [found.b for found in again.pairs if found.flagged] == [pair.b]
    assert store.opened == []


def test_an_object_is_recommended_for(tunes, workspace, copies, tmp_path, store):
    run(workspace, tunes)
    store.pipe_file("/new/again.flac", write_tune(tmp_path / "again.flac", 2).read_bytes())
    found = recommend(workspace, Query(of="faulty://new/again.flac"))
    assert found.recommendations[0].track.path == f"{URL}three.wav"
    own = recommend(workspace, Query(of="faulty://music/three.wav"))
    assert f"{URL}three.wav" not in [answer.track.path for answer in own.recommendations]


def test_clips_are_heard_of_objects_and_no_link_leads_there(
    tunes, workspace, copies, tmp_path, store
):
    store.pipe_file("/music/again.mp3", write_tune(tmp_path / "again.mp3", 2).read_bytes())
    result = scan(workspace, [tunes], options=OPTIONS)
    ids = ids_by_name(workspace.catalogue)
    paths = workspace.catalogue.paths()
    files = {
        ids["again.mp3"]: tmp_path / "again.mp3",
        ids["three.wav"]: tmp_path / "tunes/three.wav",
    }

    def media(where):
        where = {track_id: os.fsencode(path) for track_id, path in where.items()}
        shape = {"hop_s": workspace.hop_s, "window_s": workspace.window_s}
        return make_media(result, paths=where, dvectors=None, folder=tmp_path, **shape)

    store.opened.clear()
    found = media(paths)
    assert store.opened.count("again.mp3") == store.opened.count("three.wav") == 1
    heard = {track.id: track.peaks for track in found.tracks}
    assert heard == {track.id: track.peaks for track in media(files).tracks}
    assert heard.keys() == files.keys() and all(heard.values())
    assert {track.link for track in found.tracks} == {""}
    FaultyStore.failure = ConnectionError()
    assert media(paths).notes == media(dict.fromkeys(files, tmp_path / "none")).notes


def test_a_review_plays_what_the_catalogue_names(tunes, workspace, store, copies):
    run(workspace, tunes)
    track = next(t for t in workspace.catalogue.tracks() if t.path.endswith("two.wav"))
    with contextlib.ExitStack() as held:
        copy = copy_object(workspace.catalogue, track, held)
        assert Path(copy).read_bytes() == store.store["/music/two.wav"].getvalue()
        store.opened.clear()
        stranger = Track(**{**vars(track), "path": f"{URL}one.wav", "sha256": "0" * 64})
        assert copy_object(workspace.catalogue, stranger, held) == ""
        assert store.opened == []
        store.pipe_file("/music/two.wav", b"other bytes")
        assert copy_object(workspace.catalogue, track, held) == ""


def test_verify_tells_what_a_store_has_lost_or_changed(tunes, workspace, store, copies):
    run(workspace, tunes)
    assert workspace.catalogue.verify(hashes=True) == []
    store.rm("/music/one.wav")
    store.pipe_file("/music/two.wav", b"other bytes")
    found = " ".join(workspace.catalogue.verify())
    assert "one.wav is gone" in found and "two.wav has changed since" in found
    FaultyStore.failure = PermissionError("Access Denied")
    assert "one.wav cannot be read: the object store says: Access Denied" in " ".join(
        workspace.catalogue.verify()
    )


def test_spectra_of_an_older_catalogue_are_made_of_objects(tunes, workspace, copies, store):
    run(workspace, tunes)
    ids = ids_by_name(workspace.catalogue)
    first = CatalogueReader.of(workspace).spectrum(ids["one.wav"])
    with workspace.catalogue._write() as connection:
        connection.execute("DELETE FROM spectra")
    again = CatalogueReader.of(workspace).spectrum(ids["one.wav"])
    assert again.tolist() == first.tolist()


def test_the_command_names_an_object_and_links_none(tunes, tmp_path, weights, copies, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["--extractor", str(weights), "--workspace", "ws", "--threshold", str(THRESHOLD)]
    runner = CliRunner()
    done = runner.invoke(app, ["scan", tunes, *common, "--jobs", "1", "--output", "out.html"])
    assert done.exit_code == 0, done.output
    result = result_from_json((tmp_path / "out.json").read_text())
    assert result.provenance.command.startswith("audit scan faulty://music ")
    done = runner.invoke(app, ["scan", "s3://key:hunter2@bucket", *common])
    assert done.exit_code == 2
    assert "hunter2" not in done.output and "by the environment" in done.output


@pytest.fixture
def served(tmp_path, copies, weights) -> dict[str, str]:
    """Return an environment in which dir:// is a store that every process sees."""
    (tmp_path / "served/music").mkdir(parents=True)
    for seed in range(9):
        waveform = np.tile(tune(seed, duration_s=TUNE_S), 5)
        write_audio(tmp_path / f"served/music/{seed}.wav", waveform, codec="wav")
    return os.environ | {
        "FSSPEC_DIR_PATH": str(tmp_path / "served"),
        "FSSPEC_DIR_TARGET_PROTOCOL": "file",
        "TMPDIR": str(copies),
        "OMP_NUM_THREADS": "1",
    }


def test_processes_fetch_what_they_embed_and_leave_nothing(served, copies, tmp_path, weights):
    command = ["scan", "dir://music", "--jobs", "2"]
    command += ["--extractor", weights, "--workspace", tmp_path / "ws", "--no-report"]
    command += ["--threshold", str(THRESHOLD), "--quiet"]
    temporary = copies

    def fetched_here() -> list[str]:
        found = (name for *_, names in os.walk(temporary) for name in names)
        return [name for name in found if name == "audio.wav"]

    with open(tmp_path / "stderr", "w+b") as said:
        with forks.start(forks.AUDIT, *command, env=served, stderr=said) as process:
            while not fetched_here() and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGINT)
        assert process.returncode == 130, Path(said.name).read_text()
    assert list(temporary.glob("audit-*")) == []
    done = forks.run(forks.AUDIT, *command, "--jobs", "1", env=served)
    assert done.returncode == 0, done.stderr
    assert list(temporary.glob("audit-*")) == []
    with open_workspace(tmp_path / "ws", extractor=weights, write=False) as workspace:
        assert sorted(ids_by_name(workspace.catalogue)) == [f"{seed}.wav" for seed in range(9)]
