"""Decoding in a process that may die: the same samples, crashes, ceilings, and what is left."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from containers import id3_tag
from tunes import tune

from auditor.audio import isolated
from auditor.audio.decode import AudioReader, encode, write_audio
from auditor.audio.decoder_process import MEMORY_BYTES
from auditor.audio.isolated import IsolatedReader, load_waveform, read_tags
from auditor.audio.tags import Tags
from auditor.errors import AudioError, WorkerDiedError

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="ceilings are set on Linux")


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    path = tmp_path_factory.mktemp("song") / "song.flac"
    write_audio(path, tune(1, duration_s=60.0), codec="flac")
    return path


@pytest.fixture(autouse=True)
def no_idle_decoders():
    isolated._close_all()
    yield
    isolated._close_all()


@pytest.mark.parametrize("block_s", [0.5, 10.0, 100.0])
def test_the_samples_and_facts_are_those_of_a_reader_here(song, block_s):
    with AudioReader(song, block_s=block_s) as here:
        expected = list(here.blocks())
    with IsolatedReader(song, block_s=block_s) as reader:
        blocks = list(reader.blocks())
    assert [len(b) for b in blocks] == [len(b) for b in expected]
    np.testing.assert_array_equal(np.concatenate(blocks), np.concatenate(expected))
    assert (reader.info, reader.duration_s) == (here.info, here.duration_s)
    assert (reader.truncated, reader.n_bad_packets) == (here.truncated, here.n_bad_packets)


def test_one_process_serves_one_file_after_the_other(song):
    for _ in range(3):
        with IsolatedReader(song) as reader:
            process = reader._decoder._process.pid
            for _block in reader.blocks():
                break  # what is left is not waited for
        assert [d._process.pid for d in isolated._idle] == [process]


def test_two_files_may_be_open_at_once(song):
    with IsolatedReader(song) as one, IsolatedReader(song) as other:
        for a, b in zip(one.blocks(), other.blocks(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("when", ["before the first block", "on the way"])
def test_a_decoder_that_dies_is_an_error_of_the_file_and_the_next_one_works(song, when):
    with IsolatedReader(song, block_s=0.5) as reader:
        blocks = reader.blocks()
        if when == "on the way":
            next(blocks)
        reader._decoder._process.kill()
        with pytest.raises(
            WorkerDiedError, match=r"flac: the decoder crashed \(SIGKILL\)"
        ) as caught:
            list(blocks)
    assert caught.value.code == "crashed"
    assert len(load_waveform(song)) == 60 * 16_000


def test_errors_are_those_of_a_reader_here_with_the_path_as_it_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open("empty.mp3", "wb").close()
    with pytest.raises(AudioError, match=r"^empty\.mp3: is empty") as caught:
        IsolatedReader("empty.mp3")
    assert caught.value.code == "empty"
    with pytest.raises(AudioError, match=r"^gone\.mp3: no such file") as caught:
        IsolatedReader("gone.mp3")
    assert caught.value.code == "not-found"
    with pytest.raises(ValueError, match="must be above 0"):
        IsolatedReader("empty.mp3", block_s=0.0)


@ON_LINUX
def test_a_file_cannot_take_more_memory_than_the_ceiling(song):
    with IsolatedReader(song) as reader:
        process = reader._decoder._process.pid
        with open(f"/proc/{process}/limits", encoding="ascii") as file:
            limits = {line[:25].strip(): line[25:].split() for line in file}
        with open(f"/proc/{process}/status", encoding="ascii") as file:
            status = dict(line.split(":", 1) for line in file)
    ceiling = int(limits["Max address space"][0])
    assert ceiling < MEMORY_BYTES + (1 << 30)
    assert int(status["VmHWM"].split()[0]) * 1024 < 150 << 20
    assert int(limits["Max cpu time"][0]) <= 60


@ON_LINUX
def test_a_file_that_takes_too_long_is_stopped(song, monkeypatch):
    """The ceiling moves with what was decoded; here nothing is, and the process works on."""
    code = (
        "import auditor.audio.decoder_process as d\n"
        "d.CPU_S = 1.0\n"
        "class Slow(d.AudioReader):\n"
        "    def blocks(self):\n"
        "        while True: pass\n"
        "d.AudioReader = Slow\n"
        "d.serve()\n"
    )
    start = f"import sys, json; sys.path[:] = json.loads(sys.argv[1]); exec({code!r})"
    monkeypatch.setattr(isolated, "_START", start)
    with pytest.raises(AudioError, match="took much longer") as caught:
        load_waveform(song)
    assert caught.value.code == "too-slow"


@ON_LINUX
@pytest.mark.parametrize("when", ["before the file", "within it"])
def test_a_stopped_decoder_is_not_waited_for_without_end(song, monkeypatch, when):
    """A stopped process sends nothing, however slow the machine is that waits."""
    if when == "before the file":
        isolated.warm_up()
        (decoder,) = isolated._idle
        os.kill(decoder._process.pid, signal.SIGSTOP)
        monkeypatch.setattr(isolated, "STALLED_S", 0.1)
        with pytest.raises(WorkerDiedError, match=r"song\.flac: the decoder sent nothing for 0 s"):
            IsolatedReader(song)
    else:
        reader = IsolatedReader(song, block_s=0.5)
        decoder = reader._decoder
        blocks = reader.blocks()
        next(blocks)
        os.kill(decoder._process.pid, signal.SIGSTOP)
        monkeypatch.setattr(isolated, "STALLED_S", 0.1)
        with pytest.raises(WorkerDiedError, match="the next run tries the file again") as caught:
            collections.deque(blocks, 0)  # those in the pipe come yet
        assert caught.value.code == "crashed"
        reader.close()
    assert decoder._process.poll() == -signal.SIGKILL
    monkeypatch.undo()
    assert len(load_waveform(song)) > 0


@ON_LINUX
def test_ctrl_c_while_a_decoder_starts_leaves_none(monkeypatch):
    """A stopped one would not end by itself, as others do when nobody asks them any more."""
    started = []

    def start(*args, start=subprocess.Popen, **how):
        started.append(start(*args, **how))
        os.kill(started[0].pid, signal.SIGSTOP)
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", start)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            isolated.warm_up()
    finally:
        signal.signal(signal.SIGINT, before)
    isolated._close_all()
    assert started[0].poll() == -signal.SIGKILL


@ON_LINUX
def test_tags_of_a_stopped_decoder_are_none(song, monkeypatch):
    isolated.warm_up()
    os.kill(isolated._idle[0]._process.pid, signal.SIGSTOP)
    monkeypatch.setattr(isolated, "STALLED_S", 0.1)
    assert read_tags(song) == Tags()
    assert isolated._idle == []


def test_tags_are_kept_where_a_manifest_cannot_be_read(tmp_path, monkeypatch):
    tagged = tmp_path / "song.mp3"
    tagged.write_bytes(id3_tag((b"TIT2", b"\0A title", 0)) + encode(tune(1), codec="mp3"))
    monkeypatch.setattr(isolated, "can_be_read", lambda: True)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    path = [str(tmp_path), *sys.path]
    (tmp_path / "c2pa.py").write_text("import os; os.abort()")
    monkeypatch.setattr(sys, "path", path)
    isolated._close_all()
    assert read_tags(tagged) == Tags(title="A title")
    (tmp_path / "c2pa.py").write_text("raise ImportError")
    assert read_tags(tagged) == Tags(title="A title")
    isolated._close_all()


def test_tags_that_inflate_without_end_are_none_and_the_music_is_heard(tmp_path, monkeypatch):
    monkeypatch.setattr(isolated, "can_be_read", lambda: False)  # what c2pa takes is its own
    inflating = zlib.compress(b"\3" + b"A" * (64 << 20), 1)
    tag = id3_tag(
        (b"TPE1", b"\0Somebody", 0),
        (b"TIT2", (64 << 20).to_bytes(4, "big") + inflating, 0x80),
        (b"TALB", (9).to_bytes(4, "big") + zlib.compress(b"\0An album"), 0x80),
    )
    path = tmp_path / "bomb.mp3"
    path.write_bytes(tag + encode(tune(1, duration_s=5.0), codec="mp3"))
    tags = read_tags(path)
    assert (tags.title, tags.artist, tags.album) == ("", "Somebody", "An album")
    assert len(load_waveform(path)) == pytest.approx(5 * 16_000, abs=2_000)
    if sys.platform == "linux":
        (decoder,) = isolated._idle
        with open(f"/proc/{decoder._process.pid}/status", encoding="ascii") as file:
            status = dict(line.split(":", 1) for line in file)
        assert int(status["VmHWM"].split()[0]) * 1024 < 150 << 20


def test_tags_larger_than_what_is_read_for_them_are_none(tmp_path):
    tag = id3_tag((b"TIT2", b"\0" + b"A" * (40 << 20), 0))
    path = tmp_path / "long.mp3"
    path.write_bytes(tag + encode(tune(1, duration_s=5.0), codec="mp3"))
    assert read_tags(path).title == ""
    assert len(load_waveform(path)) == pytest.approx(5 * 16_000, abs=2_000)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "end"])
def test_no_decoder_outlives_who_started_it(song, how):
    code = (
        "import sys, time\n"
        "from auditor.audio.isolated import IsolatedReader\n"
        "reader = IsolatedReader(sys.argv[1])\n"
        "next(reader.blocks())\n"
        "print(reader._decoder._process.pid, flush=True)\n"
        "time.sleep(0 if sys.argv[2] == 'end' else 60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, song, how], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        if how != "end":
            parent.send_signal(getattr(signal, how))
        parent.wait()
    for _ in range(100):
        if not _is_alive(child):
            return
        time.sleep(0.1)
    pytest.fail("the decoder is still there")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{process}/stat", encoding="ascii") as file:
            return file.read().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def test_warm_up_starts_the_decoder_that_the_next_file_finds(song):
    isolated.warm_up()
    (decoder,) = isolated._idle
    isolated.warm_up()
    assert isolated._idle == [decoder]
    load_waveform(song)
    assert isolated._idle == [decoder]
    assert decoder.n_files == 1


def test_ctrl_c_ends_the_decoder_of_a_file_at_once(song):
    with pytest.raises(KeyboardInterrupt), IsolatedReader(song, block_s=0.5) as reader:
        decoder = reader._decoder
        next(reader.blocks())
        raise KeyboardInterrupt
    assert decoder._process.poll() == -signal.SIGKILL
    assert isolated._idle == []
    assert len(load_waveform(song)) > 0


def test_ctrl_c_within_a_message_ends_the_decoder(song, monkeypatch):
    def interrupted(*_args):
        raise KeyboardInterrupt

    reader = IsolatedReader(song)
    decoder = reader._decoder
    monkeypatch.setattr(isolated.Decoder, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(reader.blocks())
    assert decoder._process.poll() == -signal.SIGKILL
    reader.close()
    assert isolated._idle == []


def test_a_decoder_in_use_is_ended_with_the_process(song):
    reader = IsolatedReader(song)
    decoder = reader._decoder
    isolated._close_all()
    assert decoder._process.poll() == -signal.SIGKILL
    reader.close()
    assert isolated._idle == []
