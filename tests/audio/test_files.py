"""Folders with links, loops, secrets and names that bite."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from auditor.audio.files import find_audio, hash_file
from auditor.audio.formats import NOT_READ
from auditor.errors import AudioError, UsageError
from auditor.records import Skipped


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    return folder


def touch(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(*roots, below: Path) -> list[str]:
    prefix = os.fsencode(below) + b"/"
    return [os.fsdecode(f.path.removeprefix(prefix)) for f in find_audio(roots).files]


def test_audio_is_found_in_sorted_order(root):
    for name in ("b.MP3", "a/z.flac", "a.ogg", "a/c/d.m4a", "cover.jpg", "notes", "mp3"):
        touch(root / name)
    assert names(root, below=root) == ["a.ogg", "a/c/d.m4a", "a/z.flac", "b.MP3"]


def test_size_and_time_are_those_of_the_file(root):
    path = touch(root / "a.wav", b"12345")
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    (found,) = find_audio([root]).files
    assert (found.path, found.size) == (os.fsencode(path), 5)
    assert found.mtime_ns == 1_234_567_890_123_456_789


def test_the_order_of_the_roots_does_not_matter(root):
    for name in ("a/1.mp3", "b/2.mp3", "b/c/3.mp3"):
        touch(root / name)
    one = find_audio([root / "b", root / "a", root / "b/c"])
    assert one == find_audio([root / "a", root / "b"])
    assert one == find_audio([root, root])


def test_hidden_files_and_folders_are_left_out(root):
    for name in (".a.mp3", ".trash/b.mp3", "c.mp3", "d/.e/f.mp3"):
        touch(root / name)
    assert names(root, below=root) == ["c.mp3"]
    assert names(root / ".trash", below=root) == [".trash/b.mp3"]


def test_loops_of_links_end(root):
    touch(root / "a/one.mp3")
    (root / "a/up").symlink_to(root)
    (root / "b").symlink_to("a")
    (root / "c").symlink_to("c")
    (root / "self.mp3").symlink_to("self.mp3")
    walk = find_audio([root])
    assert [os.path.basename(f.path) for f in walk.files] == [b"one.mp3"]
    assert [s.path for s in walk.unreadable] == [str(root / "self.mp3")]
    assert "symbolic links" in walk.unreadable[0].reason
    assert (walk.unreadable[0].code, walk.unreadable[0].retry) == ("io-error", True)


def test_a_folder_that_a_link_leads_to_is_walked(root, tmp_path):
    touch(tmp_path / "elsewhere/a.mp3")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    assert names(root, below=root) == ["link/a.mp3"]


def test_hard_links_are_files_of_their_own(root):
    first = touch(root / "b.mp3")
    os.link(first, root / "a.mp3")
    (root / "0.mp3").symlink_to("b.mp3")
    (root / "z.mp3").symlink_to("a.mp3")
    assert names(root, below=root) == ["a.mp3", "b.mp3"]


def test_a_link_stands_for_a_file_outside(root, tmp_path):
    outside = touch(tmp_path / "outside.mp3")
    (root / "b.mp3").symlink_to(outside)
    (root / "a.mp3").symlink_to(outside)
    assert names(root, below=root) == ["a.mp3"]
    assert names(root, outside, below=tmp_path) == ["outside.mp3"]


def test_a_file_reached_through_a_linked_folder_counts_once(root, tmp_path):
    path = touch(root / "real/a.mp3")
    (tmp_path / "alias").symlink_to(root / "real")
    assert len(find_audio([tmp_path / "alias", path]).files) == 1
    assert len(find_audio([path, path, root]).files) == 1


def test_a_file_given_by_name_is_taken_whatever_it_is_called(root):
    path = touch(root / "song.bin")
    assert names(path, below=root) == ["song.bin"]
    assert names(root, below=root) == []


def test_music_that_is_not_read_is_named_with_the_reason(root):
    for name in ("a.mp3", "b.MID", "sub/c.m4p", "sub/d.mod/e.flac", ".f.mid", "cover.jpg"):
        touch(root / name)
    (root / "link.kar").symlink_to("b.MID")
    walk = find_audio([root])
    assert names(root, below=root) == ["a.mp3", "sub/d.mod/e.flac"]
    assert walk.unreadable == (
        Skipped(str(root / "b.MID"), NOT_READ[".mid"], "not-read"),
        Skipped(str(root / "sub/c.m4p"), NOT_READ[".m4p"], "not-read"),
    )
    assert walk.not_read == walk.unreadable
    assert not walk.is_without_audio()
    alone = find_audio([root / "sub/c.m4p"])
    assert (len(alone.files), alone.unreadable) == (1, ())  # given by name: it is tried
    assert len(find_audio([root, root / "sub/c.m4p"]).unreadable) == 1


def test_a_folder_of_nothing_else_is_without_audio(root):
    for n in range(5):
        touch(root / f"{n}.mid")
    walk = find_audio([root])
    assert walk.is_without_audio()
    assert walk.tell_not_read() == (
        " 5 files are not read: "
        + "".join(f"{root}/{n}.mid {NOT_READ['.mid']}; " for n in range(3))
        + "…."
    )
    (root / "gone.mp3").symlink_to("nowhere")
    walk = find_audio([root])
    assert not walk.is_without_audio()
    assert [s.path for s in walk.not_read] == [f"{root}/{n}.mid" for n in range(5)]


PACKETS = b"".join(b"\x47" + bytes(187) for _ in range(3))


def test_ts_is_taken_where_it_is_mpeg_and_passed_over_where_it_is_typescript(root):
    touch(root / "music.ts", PACKETS)
    touch(root / "MUSIC.TS", PACKETS)
    touch(root / "code.ts", b"GET = 1;" + bytes(180) + b"x")
    touch(root / "short.ts", b"G")
    touch(root / "empty.ts", b"")
    os.mkfifo(root / "pipe.ts")
    assert names(root, below=root) == ["MUSIC.TS", "music.ts"]
    assert find_audio([root]).unreadable == ()
    assert names(root / "code.ts", below=root) == ["code.ts"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_ts_that_cannot_be_read_is_named(root):
    touch(root / "music.ts", PACKETS).chmod(0)
    (skipped,) = find_audio([root]).unreadable
    assert skipped.reason == "cannot be read: Permission denied"


@pytest.mark.parametrize(
    "name",
    [b"caf\xe9.mp3", b"a\nb.mp3", b"<script>'\".mp3", "夜 – 音.mp3".encode(), b"%s {}.mp3"],
)
def test_names_are_bytes(root, name):
    path = os.path.join(os.fsencode(root), name)
    with open(path, "wb"):
        pass
    (found,) = find_audio([root]).files
    assert found.path == path
    assert find_audio([path]).files == (found,)
    assert find_audio([os.fsdecode(path)]).files == (found,)


def test_what_is_no_regular_file_is_left_out(root):
    (root / "folder.mp3").mkdir()
    os.mkfifo(root / "pipe.mp3")
    touch(root / "folder.mp3/a.mp3")
    walk = find_audio([root])
    assert [f.path for f in walk.files] == [os.fsencode(root / "folder.mp3/a.mp3")]
    assert walk.unreadable == ()


def test_dangling_links_are_told_where_they_look_like_audio(root):
    (root / "gone.mp3").symlink_to("nowhere.mp3")
    (root / "gone.txt").symlink_to("nowhere.txt")
    (skipped,) = find_audio([root]).unreadable
    assert skipped.path == str(root / "gone.mp3")
    assert skipped.reason == "cannot be read: No such file or directory"
    assert (skipped.code, skipped.retry) == ("not-found", True)


@pytest.fixture
def locked_folder():
    """Return a folder that its walker may not read, also where the tests run as root."""
    folder = Path(tempfile.mkdtemp())
    touch(folder / "open.mp3")
    touch(folder / "locked/a.mp3")
    folder.chmod(0o755)
    (folder / "locked").chmod(0o000)
    root_runs = os.geteuid() == 0
    if root_runs:
        os.seteuid(65534)
    yield folder
    if root_runs:
        os.seteuid(0)
    (folder / "locked").chmod(0o755)
    shutil.rmtree(folder)


def test_an_unreadable_folder_is_told_and_the_rest_goes_on(locked_folder):
    walk = find_audio([locked_folder, locked_folder / "locked"])
    assert [f.path for f in walk.files] == [os.fsencode(locked_folder / "open.mp3")]
    (skipped,) = walk.unreadable
    assert skipped.path == str(locked_folder / "locked")
    assert skipped.reason == "cannot be read: Permission denied"
    assert (skipped.code, skipped.retry) == ("denied", True)


@pytest.mark.parametrize("name", ["absent", "file.mp3/below"])
def test_a_root_that_does_not_exist(root, name):
    touch(root / "file.mp3")
    message = f"{name} does not exist. Give a folder of music or an audio file"
    with pytest.raises(UsageError, match=message):
        find_audio([root, root / name])


def test_no_audio_is_no_error_here(root):
    assert find_audio([root]).files == ()
    assert find_audio([]).files == ()


def test_a_pipe_or_a_device_given_by_name_is_no_file(root):
    os.mkfifo(root / "fifo.mp3")
    kept = touch(root / "a.wav")
    walk = find_audio([root / "fifo.mp3", "/dev/zero", kept])
    assert [f.path for f in walk.files] == [os.fsencode(kept)]
    assert [s.path for s in walk.unreadable] == ["/dev/zero", str(root / "fifo.mp3")]
    assert all(s.reason.startswith("is not a regular file. Give") for s in walk.unreadable)
    assert {(s.code, s.retry) for s in walk.unreadable} == {("not-a-file", False)}


def test_hash_file_waits_for_no_pipe_and_no_device(root):
    os.mkfifo(root / "fifo.mp3")
    for path in (root / "fifo.mp3", Path("/dev/zero")):
        with pytest.raises(AudioError, match="is not a regular file"):
            hash_file(path)
    with pytest.raises(FileNotFoundError):
        hash_file(root / "absent.mp3")
    with pytest.raises(AudioError, match=r"is empty \(0 bytes\)"):
        hash_file(touch(root / "empty.mp3", b""))
