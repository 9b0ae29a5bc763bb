"""Bad input: each kind is named in a clear message, the batch goes on, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import mutagen
import pytest
from mutagen.id3 import TALB, TIT2, TPE1
from small_audit import THRESHOLD, Log, calibrate_by_hand, facts, save_small_extractor, write_tune

import auditor.ingest.prepare
from auditor.api.check import check
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.errors import (
    AuditError,
    CatalogueError,
    IndexFileError,
    ThresholdError,
    UsageError,
    WeightsError,
    WorkspaceLockedError,
)
from auditor.records import result_from_json, to_json
from auditor.report.html.page import render_html
from auditor.workspace import open_workspace

OPTIONS = Options(threshold=THRESHOLD, compositions=False)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return save_small_extractor(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def tunes(tmp_path_factory):
    """Return a folder with one tune twice, first and last in sorted order, and another one."""
    folder = tmp_path_factory.mktemp("tunes")
    for name, seed in (("a.wav", 1), ("m.flac", 2), ("z.ogg", 1)):
        write_tune(folder / name, seed)
    return folder


@pytest.fixture
def music(tmp_path, tunes):
    return shutil.copytree(tunes, tmp_path / "music")


@pytest.fixture
def run(tmp_path, weights):
    """Return a function that opens the workspace of the test and scans folders."""

    def scan_folders(*roots, **how):
        with open_workspace(tmp_path / "ws", extractor=weights, write=True) as workspace:
            return scan(workspace, roots, **{"options": OPTIONS, **how})

    return scan_folders


@pytest.fixture(scope="module")
def template(tmp_path_factory, tunes, weights):
    """Return a workspace with the tunes, to be copied."""
    folder = tmp_path_factory.mktemp("template") / "ws"
    with open_workspace(folder, extractor=weights, write=True) as workspace:
        scan(workspace, [tunes], options=OPTIONS)
    return folder


@pytest.fixture
def scanned(tmp_path, template, tunes):
    """Return the folder of tunes, which the workspace of the test knows already."""
    shutil.copytree(template, tmp_path / "ws")
    return tunes


@pytest.fixture
def check_one(tmp_path, weights):
    """Return a function that checks one file against the workspace of the test."""

    def check_file(path):
        with open_workspace(tmp_path / "ws", extractor=weights, write=False) as workspace:
            return check(workspace, [path], options=OPTIONS)

    return check_file


def reasons(result) -> dict[str, str]:
    return {os.path.basename(s.path): s.reason for s in result.skipped}


def assert_whole(result) -> None:
    """The three good tracks are there, and their one pair."""
    assert result.n_tracks == 3
    names = {t.id: os.path.basename(t.path) for t in result.tracks}
    assert [sorted((names[p.a], names[p.b])) for p in result.pairs] == [["a.wav", "z.ogg"]]


# Folders and files.


@pytest.mark.parametrize("name", [None, "notes.txt", ".hidden.mp3"])
def test_a_folder_without_audio(tmp_path, run, scanned, name):
    (tmp_path / "empty").mkdir()
    if name:
        (tmp_path / "empty" / name).write_text("no music here")
    with pytest.raises(UsageError, match=r"empty: no audio file was found\. Give a folder with mp"):
        run(tmp_path / "empty")
    assert_whole(run(scanned, tmp_path / "empty"))


BAD_FILES = {
    "text": (b"This is no music.\n" * 40, r"is not audio that FFmpeg can read\. Give an intact"),
    "empty": (b"", r"is empty \(0 bytes\)\. Give an intact file"),
    "junk": (bytes(range(256)) * 64, "is not audio|holds no audio that can be decoded"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_audio(run, music, kind):
    data, message = BAD_FILES[kind]
    (music / "bad.mp3").write_bytes(data)
    log = Log()
    result = run(music, on_event=log)
    assert_whole(result)
    assert list(reasons(result)) == ["bad.mp3"]
    with pytest.raises(AuditError, match=message):
        raise AuditError(reasons(result)["bad.mp3"])
    assert log.outcomes["bad.mp3"] == "skipped"
    assert len(log.outcomes) == 4
    assert facts(run(music)) == facts(result), "named again in the next scan"


def test_a_file_of_half_a_second(run, music):
    write_tune(music / "short.wav", 3, duration_s=0.5)
    result = run(music)
    assert_whole(result)
    assert reasons(result)["short.wav"].startswith("0.50 s of audio; at least 1.")
    assert reasons(result)["short.wav"].endswith("s are needed. Give a longer excerpt.")


def test_a_truncated_mp3_is_used_and_marked(run, music):
    whole = write_tune(music / "cut.mp3", 1, duration_s=8.0).read_bytes()
    (music / "cut.mp3").write_bytes(whole[: len(whole) // 2])
    result = run(music)
    assert result.skipped == ()
    assert result.n_tracks == 4
    (cut,) = [track for track in result.tracks if track.path.endswith("cut.mp3")]
    assert cut.truncated
    assert cut.duration_s < 5.0 < 7.9 < cut.declared_s < 8.1
    assert [t.path for t in result.tracks if t.truncated] == [cut.path]


def test_files_that_vanish_during_the_scan(run, music):
    write_tune(music / "b.wav", 5)
    (music / "c.mp3").write_bytes(b"no audio, and gone before it is seen" * 9)

    def delete(event):
        if event.n_done == 1:
            (music / "b.wav").unlink()
            (music / "c.mp3").unlink()

    result = run(music, on_event=delete)
    assert_whole(result)
    assert reasons(result) == dict.fromkeys(("b.wav", "c.mp3"), "disappeared during the scan")
    assert run(music).skipped == (), "what is gone is not named for ever"


def test_a_known_track_that_vanishes_during_the_scan_is_missing(run, music):
    write_tune(music / "b.wav", 5)
    run(music)
    write_tune(music / "b.wav", 6)
    result = run(music, on_event=lambda e: e.n_done == 1 and (music / "b.wav").unlink())
    assert_whole(result)
    assert [os.path.basename(t.path) for t in result.tracks if t.missing] == ["b.wav"]
    assert list(reasons(result)) == ["b.wav"]


def test_a_file_that_changes_while_it_is_read(run, music, monkeypatch):
    embed_file = auditor.ingest.prepare.embed_file

    def append(path, extractors):
        embedded = embed_file(path, extractors)
        if path.endswith(b"m.flac"):
            with open(path, "ab") as file:
                file.write(b"x")
        return embedded

    monkeypatch.setattr(auditor.ingest.prepare, "embed_file", append)
    result = run(music)
    assert reasons(result) == {"m.flac": "changed while it was read. Scan again."}
    assert result.n_tracks == 2
    monkeypatch.undo()
    assert_whole(run(music))


UNREADABLE = """
import os, sys
from pathlib import Path
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.workspace import open_workspace

folder, weights, threshold = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])

def run(name):
    with open_workspace(folder / name, extractor=weights, write=True) as workspace:
        result = scan(workspace, [folder / "music"], options=Options(threshold=threshold))
    bad = sorted((os.path.basename(s.path), s.reason) for s in result.skipped)
    print(result.n_tracks, len(result.pairs), bad)

run("warm")  # whatever is imported late is imported by now
if os.geteuid() == 0:
    os.seteuid(65534)
os.chmod(folder / "music" / "m.flac", 0)
os.chmod(folder / "music" / "closed", 0)
run("ws")
os.chmod(folder / "music" / "m.flac", 0o644)
os.chmod(folder / "music" / "closed", 0o755)
run("ws")
"""


def test_unreadable_files_and_folders(tunes, weights):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(tunes, folder / "music")
        (folder / "music" / "closed").mkdir()
        write_tune(folder / "music" / "closed" / "n.wav", 4)
        shutil.copy(weights, folder)
        if os.geteuid() == 0:  # the superuser may read everything: another user tries
            for path in (folder, *folder.rglob("*")):
                os.chown(path, 65534, 65534)
        done = subprocess.run(
            [sys.executable, "-c", UNREADABLE, name, folder / weights.name, str(THRESHOLD)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "4 1 []",
        "2 1 [('closed', 'cannot be read: Permission denied'), "
        "('m.flac', 'cannot be read: Permission denied')]",
        "4 1 []",
    ]


HOSTILE_NAMES = (
    b"new\nline.wav",
    b"quo\"te'.wav",
    b"\xff\xfe.wav",
    b"<script>alert(1)<!--.wav",
    b"-rf.wav",
    b"concat:a|b.wav",
    "\u202egnp.wav".encode(),
    b"; DROP TABLE tracks.wav",
)


def test_hostile_file_names(run, music, check_one):
    for name in HOSTILE_NAMES:
        shutil.copyfile(music / "a.wav", os.path.join(os.fsencode(music), name))
    with open(os.path.join(os.fsencode(music), b"bad\n\xff<b>.mp3"), "wb") as file:
        file.write(b"no audio" * 99)
    result = run(music)
    assert result.n_tracks == 3 + len(HOSTILE_NAMES)
    n_copies = 2 + len(HOSTILE_NAMES)
    assert len(result.pairs) == 2, "the copy, and the pair of all files of the same bytes"
    assert [len(group.tracks) for group in result.identical] == [n_copies - 1]
    text = to_json(result)
    text.encode("utf-8")
    assert result_from_json(text) == result
    paths = [os.path.basename(track.path) for track in result.tracks]
    assert {r"new\nline.wav", "quo\"te'.wav", r"\xff\xfe.wav"} <= set(paths)
    assert all(path.isprintable() for path in paths)
    assert list(reasons(result)) == [r"bad\n\xff<b>.mp3"]
    page = render_html(result)
    assert "<script>alert(1)" not in page
    assert r"bad\n\xff<b>" not in page
    assert facts(run(music)) == facts(result)
    checked = check_one(os.path.join(os.fsencode(music), HOSTILE_NAMES[2]))
    assert sum(pair.n_files_b for pair in checked.pairs if pair.flagged) == n_copies - 1


def test_tags_with_html(run, music):
    hostile = '<img src=x onerror=alert(1)>"&\x00</script><script>alert(2)</script>'
    path = write_tune(music / "tagged.mp3", 1)
    tags = mutagen.File(path)
    for frame in (TIT2, TPE1, TALB):
        tags.tags.add(frame(encoding=3, text=[hostile]))
    tags.save()
    result = run(music)
    (tagged,) = [t for t in result.tracks if t.path.endswith("tagged.mp3")]
    assert tagged.title.startswith("<img src=x onerror=alert(1)>"), "kept as it is, as text"
    page = render_html(result)
    assert "<img src=x" not in page
    assert "<script>alert(2)" not in page


# The workspace and its files.

HOLD = """
import sys, time
from pathlib import Path
from auditor.workspace import lock_workspace
with lock_workspace(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_processes_on_one_workspace(tmp_path, run, check_one, scanned):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "ws")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(WorkspaceLockedError, match=r"ws is in use by another audit\. Wait for"):
            run(scanned)
        assert len(check_one(scanned / "a.wav").pairs) == 2, "reading goes on"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert_whole(run(scanned))


def test_a_catalogue_that_is_no_database(tmp_path, run, scanned):
    file = tmp_path / "ws" / "catalogue.sqlite3"
    file.write_bytes(b"garbage" * 1000)
    with pytest.raises(CatalogueError, match=r"catalogue\.sqlite3: not an SQLite file.*left as it"):
        run(scanned)
    assert file.read_bytes() == b"garbage" * 1000
    file.unlink()
    assert_whole(run(scanned))


@pytest.mark.parametrize("table", ["embeddings", "tracks"])
def test_a_track_whose_key_changed_on_the_disk_is_named_until_it_is_embedded_anew(
    tmp_path, run, scanned, check_one, table
):
    column = "id" if table == "tracks" else "track_id"
    with contextlib.closing(sqlite3.connect(tmp_path / "ws" / "catalogue.sqlite3")) as connection:
        (track_id,) = connection.execute(
            "SELECT id FROM tracks WHERE path LIKE '%z.ogg'"
        ).fetchone()
        connection.execute(f"UPDATE {table} SET {column} = 'zz' WHERE {column} = ?", (track_id,))
        connection.commit()
    for result in (check_one(scanned / "a.wav"), run(), check_one(scanned / "a.wav"), run()):
        assert {s.code for s in result.skipped} == {"damaged-row"}
        assert all(
            "an id changed on the disk" in s.reason or "zz" in s.reason for s in result.skipped
        )
    assert_whole(run(scanned))
    again = run()
    assert_whole(again)
    assert again.skipped == ()
    with open_workspace(tmp_path / "ws", write=False) as workspace:
        assert list(workspace.catalogue.verify()) == []


def test_a_catalogue_with_damaged_pages(tmp_path, run, scanned):
    file = tmp_path / "ws" / "catalogue.sqlite3"
    data = file.read_bytes()
    file.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))
    with pytest.raises(CatalogueError, match=r"damaged \(.*\)\. Restore it from a copy, or move"):
        run(scanned)
    file.write_bytes(data)
    assert_whole(run(scanned))


@pytest.mark.parametrize("search", ["exact", "annoy"])
@pytest.mark.parametrize("pattern", ["*.ann", "*.json"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "gone"])
def test_a_damaged_index_is_built_anew(tmp_path, run, scanned, search, pattern, damage):
    options = Options(threshold=THRESHOLD, search=search)
    before = run(scanned, options=options)
    (file,) = (tmp_path / "ws" / "index").glob(pattern)
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data[:-9] if damage == "cut" else b"\x07" * len(data))
    assert facts(run(scanned, options=options)) == facts(before)
    assert file.read_bytes() == data


def test_weights_that_do_not_match_the_index(tmp_path, run, scanned, weights):
    before = run(scanned)
    weights_id = weights.stem[-8:]
    sidecar = tmp_path / "ws" / "index" / f"{weights_id}.json"
    good = sidecar.read_text()
    sidecar.write_text(json.dumps({**json.loads(good), "weights_id": "deadbeef"}))
    message = f"built with weights deadbeef but the catalogue's .* of weights {weights_id}"
    for search in ("exact", "annoy"):
        with pytest.raises(IndexFileError, match=message):
            run(scanned, options=Options(threshold=THRESHOLD, search=search))
    sidecar.write_text(good)
    assert facts(run(scanned)) == facts(before)


def test_other_weights_have_an_index_of_their_own(tmp_path, run, scanned):
    before = run(scanned)
    other = save_small_extractor(tmp_path, seed=8, name="other")
    with open_workspace(tmp_path / "ws", extractor=other, write=True) as workspace:
        scan(workspace, [scanned], options=OPTIONS)
    assert len(list((tmp_path / "ws" / "index").glob("*.json"))) == 2
    assert facts(run(scanned)) == facts(before)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-100], r"is damaged: its name says [0-9a-f]{8}, its content is"),
        (lambda data: b"", "is damaged"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "Fetch or train it again"),
    ],
)
def test_damaged_weights(tmp_path, weights, damage, message):
    bad = tmp_path / weights.name
    bad.write_bytes(damage(weights.read_bytes()))
    with (
        pytest.raises(WeightsError, match=message),
        open_workspace(tmp_path / "ws", extractor=bad, write=True),
    ):
        pass
    assert not (tmp_path / "ws").exists()


def test_a_damaged_threshold_file(tmp_path, run, scanned, weights):
    file = calibrate_by_hand(tmp_path / "ws", weights.stem[-8:])
    good = file.read_text()
    file.write_text(good[:-20])
    with pytest.raises(ThresholdError, match=r"small\.json is not a threshold file: .* calibrate"):
        run(scanned, options=Options())
    file.write_text(good)
    assert_whole(run(scanned, options=Options()))


def test_thresholds_of_other_weights(tmp_path, run, scanned):
    file = calibrate_by_hand(tmp_path / "ws", "deadbeef")
    with pytest.raises(ThresholdError, match="no threshold is calibrated for weights"):
        run(scanned, options=Options())
    with pytest.raises(ThresholdError, match="calibrated for weights deadbeef; the extractor in"):
        run(scanned, options=Options(threshold_file=file))


# A full disk.


@contextlib.contextmanager
def small_disk(folder: Path):
    """Mount 1 MiB of memory at a folder; skip the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a disk of its own can only be mounted by the superuser")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return ballast


def test_a_disk_that_fills_up_during_the_scan(tmp_path, run, music, weights):
    expected = run(music)
    shutil.rmtree(tmp_path / "ws")
    with small_disk(tmp_path / "ws"):
        log = Log()

        def fill_after_the_first(event):
            log(event)
            if event.n_done == 1:
                fill(tmp_path / "ws")

        with pytest.raises(CatalogueError, match=r"the disk is full; what was stored .* is safe"):
            run(music, on_event=fill_after_the_first)
        assert log.names("embedded") == ["a.wav"]
        (tmp_path / "ws" / "ballast").unlink()
        log = Log()
        assert facts(run(music, on_event=log)) == facts(expected)
        assert log.names("unchanged") == ["a.wav"]


def test_a_disk_that_is_full_when_the_index_is_written(tmp_path, run, music, weights):
    expected = run(music)
    shutil.rmtree(tmp_path / "ws")
    with small_disk(tmp_path / "ws"):
        message = r"the index cannot be written: .* The catalogue is safe\. Free some space"
        with pytest.raises(IndexFileError, match=message):
            run(music, on_event=lambda e: e.n_done == e.n_total and fill(tmp_path / "ws"))
        (tmp_path / "ws" / "ballast").unlink()
        log = Log()
        assert facts(run(music, on_event=log)) == facts(expected)
        assert set(log.outcomes.values()) == {"unchanged"}


LIMITED = """
import resource, signal, sys
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.errors import AuditError
from auditor.workspace import open_workspace

folder, weights, music, threshold = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def limit(event):
    if event.n_done == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

try:
    with open_workspace(folder, extractor=weights, write=True) as workspace:
        scan(workspace, [music], options=Options(threshold=float(threshold)), on_event=limit)
except AuditError as error:
    print(type(error).__name__, error)
"""


def test_files_that_may_not_grow(tmp_path, run, music, weights):
    arguments = [str(a) for a in (tmp_path / "ws", weights, music, THRESHOLD)]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "CatalogueError" in done.stdout
    assert "the disk is full" in done.stdout or "Check the disk" in done.stdout
    log = Log()
    assert_whole(run(music, on_event=log))
    assert log.names("unchanged") == ["a.wav"]
