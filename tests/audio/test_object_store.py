"""Music in an object store: what is listed, read, refused, and left behind."""

from __future__ import annotations

import datetime
import os
import resource
import stat
import sys
import tempfile

import fsspec
import pytest
from fsspec import AbstractFileSystem
from small_store import FaultyStore

from auditor.audio.files import find_audio
from auditor.audio.formats import NOT_READ
from auditor.audio.object_store import exists, fetched, is_object, list_objects, look_up
from auditor.errors import AudioError, TooShortError, UsageError
from auditor.records import Skipped

KEYS = (
    "a b.mp3",
    "a\nb.mp3",
    "a::file:///etc/passwd.mp3",
    "50% #1?.mp3",
    "*.mp3",
    "\N{DROMEDARY CAMEL}\u202e.mp3",
    "sub/" + "k" * 900 + ".mp3",
)


def names(url: str) -> list[str]:
    return [os.fsdecode(one.url) for one in list_objects(url.encode()).objects]


def test_objects_below_a_url_are_listed_without_hidden_ones(store):
    for key in ("a.mp3", "sub/b.txt", ".hidden.mp3", ".git/c.mp3", "sub/../up.mp3"):
        store.pipe_file(f"/music/{key}", b"x")
    store.pipe_file("/music2/other.mp3", b"x")
    assert names("faulty://music/") == ["faulty:///music/a.mp3", "faulty:///music/sub/b.txt"]
    assert names("FAULTY://music/sub/b.txt") == ["faulty:///music/sub/b.txt"]
    assert names("faulty://music/.hidden.mp3") == ["faulty:///music/.hidden.mp3"]
    assert exists(b"faulty://music") and exists(b"faulty://music/a.mp3")
    assert not exists(b"faulty://mus")
    with pytest.raises(FileNotFoundError, match="no such object"):
        list_objects(b"faulty://mus")
    with pytest.raises(FileNotFoundError, match="no such object"):
        look_up(b"faulty://music/sub")


def test_a_name_is_a_name_whatever_it_looks_like(store, copies):
    for key in KEYS:
        store.pipe_file(f"/music/{key}", key.encode())
    listing = list_objects(b"faulty://music")
    assert sorted(os.fsdecode(one.url) for one in listing.objects) == sorted(
        f"faulty:///music/{key}" for key in KEYS
    )
    for one in listing.objects:
        assert look_up(one.url) == one
        with fetched(one.url, size=one.size) as copy, open(copy, "rb") as file:
            assert os.fsencode(f"faulty:///music/{file.read().decode()}") == one.url
            assert os.path.basename(copy) == "audio.mp3"
            assert os.path.dirname(os.path.dirname(copy)) == str(copies)


def test_an_object_that_no_url_names_is_told(store):
    class Slashed(FaultyStore):
        protocol = "slashed"

        @classmethod
        def _strip_protocol(cls, path):
            return "/music" if path.endswith("music") else "/music/" + path.rsplit("/", 1)[-1]

    import fsspec

    fsspec.register_implementation("slashed", Slashed, clobber=True)
    store.pipe_file("/music/sub/a.mp3", b"x")
    store.pipe_file("/music/a?versionId=1.mp3", b"x")
    for scheme, refused in (("slashed", "sub/a.mp3"), ("faulty", "a?versionId=1.mp3")):
        listing = list_objects(f"{scheme}://music".encode())
        assert os.fsencode(f"{scheme}:///music/{refused}") in listing.refused
        assert {one.url for one in listing.objects}.isdisjoint(listing.refused)
    (told,) = find_audio(["faulty://music"]).unreadable
    assert told.path == "faulty:///music/a?versionId=1.mp3"
    assert told.reason.startswith("cannot be named by a URL")


def test_music_that_is_not_read_is_named_and_ts_is_taken_where_it_is_mpeg(store):
    packets = b"".join(b"\x47" + bytes(187) for _ in range(2))
    store.pipe_file("/music/a.mid", b"x")
    store.pipe_file("/music/b.ts", packets)
    store.pipe_file("/music/c.ts", b"export default 1;" * 20)
    store.opened.clear()
    walk = find_audio(["faulty://music"])
    assert sorted(store.opened) == ["b.ts", "c.ts"]
    assert [found.path for found in walk.files] == [b"faulty:///music/b.ts"]
    assert walk.unreadable == (Skipped("faulty:///music/a.mid", NOT_READ[".mid"], "not-read"),)
    assert walk.not_read == walk.unreadable
    assert find_audio(["faulty://music", "faulty://music/"]).not_read == walk.not_read
    assert walk.has_listed(b"faulty:///music/gone.ts")
    assert [f.path for f in find_audio(["faulty://music/a.mid"]).files] == [
        b"faulty:///music/a.mid"
    ]


def test_ts_that_a_store_does_not_give_is_named(store, monkeypatch):
    store.pipe_file("/music/b.ts", b"x")

    def fail(self, path, mode="rb", **how):
        raise PermissionError(13, "no")

    monkeypatch.setattr(FaultyStore, "open", fail)
    (skipped,) = find_audio(["faulty://music"]).unreadable
    assert skipped.path == "faulty:///music/b.ts"
    assert skipped.reason == "cannot be read: the object store says: no"
    assert (skipped.code, skipped.retry) == ("denied", True)


def test_a_stamp_changes_with_the_time_and_with_the_tag(store):
    store.pipe_file("/music/a.mp3", b"x")
    first = look_up(b"faulty://music/a.mp3")
    assert list_objects(b"faulty://music").objects == [first]
    store.store["/music/a.mp3"].created += datetime.timedelta(seconds=2)
    assert look_up(b"faulty://music/a.mp3").stamp_ns == first.stamp_ns + 2 * 10**9

    from auditor.audio.object_store import _stamp_ns

    when = datetime.datetime(2026, 1, 1, microsecond=5, tzinfo=datetime.UTC)
    whole = when.replace(microsecond=0)
    one = _stamp_ns({"LastModified": when, "ETag": '"abc"'})  # as a listing says it
    assert one == _stamp_ns({"LastModified": whole, "ETag": "abc"})  # as the object does
    assert one != _stamp_ns({"LastModified": when, "ETag": "abd"})
    assert _stamp_ns({"ETag": "abc"}) == one % 10**9
    assert _stamp_ns({"LastModified": "", "size": 3}) == 0


def test_a_file_is_where_it_is(tmp_path, copies):
    assert not is_object(tmp_path / "s3:" / "a.mp3")
    with fetched(tmp_path) as path:
        assert path == tmp_path
    assert os.listdir(copies) == []


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, SystemExit, StopAsyncIteration])
def test_a_copy_is_private_and_ends_with_the_with(store, copies, raised):
    store.pipe_file("/music/Song.FLAC", b"content")
    with fetched("faulty://music/Song.FLAC") as copy:
        assert os.path.basename(copy) == "audio.flac"
        assert stat.S_IMODE(os.stat(os.path.dirname(copy)).st_mode) == 0o700
    assert os.listdir(copies) == []
    with pytest.raises(raised), fetched("faulty://music/Song.FLAC"):
        raise raised
    assert os.listdir(copies) == []


@pytest.mark.parametrize("suffix", ["", ".x;y", ".averylongone", ".Ünicode", "./"])
def test_a_suffix_that_is_none_does_not_name_the_copy(store, copies, suffix):
    store.pipe_file(f"/music/song{suffix}x/a{suffix.strip('/')}", b"content")
    with fetched(f"faulty://music/song{suffix}x/a{suffix.strip('/')}") as copy:
        assert os.path.basename(copy) == "audio"


def test_errors_about_a_copy_name_the_object(store, copies):
    store.pipe_file("/music/a\n.mp3", b"content")
    with pytest.raises(TooShortError) as caught, fetched(b"faulty:///music/a\n.mp3") as copy:
        raise TooShortError(f"{copy}: 0.1 s of audio")
    assert str(caught.value) == "faulty:///music/a\\n.mp3: 0.1 s of audio"


def test_an_object_of_another_size_is_not_read(store, copies):
    store.pipe_file("/music/a.mp3", b"content")
    with (
        pytest.raises(AudioError, match=r"a\.mp3: changed while it was read\. Scan again"),
        fetched(b"faulty://music/a.mp3", size=6),
    ):
        pytest.fail("it was read")
    assert os.listdir(copies) == []


def test_a_connection_that_ends_early_is_a_passing_failure(store, copies):
    store.pipe_file("/music/a.mp3", b"content")
    FaultyStore.cut = 2
    with pytest.raises(OSError, match="5 of 7 bytes came"), fetched(b"faulty://music/a.mp3"):
        pytest.fail("it was read")
    assert os.listdir(copies) == []


def test_want_of_space_is_told_as_such(store, copies, monkeypatch):
    store.pipe_file("/music/a.mp3", bytes(1_000_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with (
            pytest.raises(OSError, match="no copy can be made below TMPDIR: File too large"),
            fetched(b"faulty://music/a.mp3"),
        ):
            pytest.fail("it was read")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(copies) == []
    monkeypatch.setattr(tempfile, "tempdir", str(copies / "none"))
    with (
        pytest.raises(OSError, match=r"below TMPDIR: No such file.*set TMPDIR") as caught,
        fetched(b"faulty://music/a.mp3"),
    ):
        pytest.fail("it was read")
    assert not isinstance(caught.value, FileNotFoundError)  # the object is there


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (PermissionError("Access Denied"), "the object store says: Access Denied"),
        (TimeoutError(), "the object store says: TimeoutError"),
        (RuntimeError("key=hunter2"), r"cannot be asked \(RuntimeError\): "),
    ],
)
def test_what_a_store_fails_with_is_told_without_secrets(store, failure, said):
    FaultyStore.failure = failure
    for ask in (list_objects, look_up, exists):
        with pytest.raises(OSError, match=said) as caught:
            ask(b"faulty://music")
        assert "hunter2" not in str(caught.value)


def test_a_folder_that_cannot_be_listed_is_an_error_and_no_empty_one(store):
    class Plain(FaultyStore):
        """A store whose driver leaves it to fsspec to look below folders."""

        protocol = "plain"
        find = AbstractFileSystem.find

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.removeprefix("plain://"))

        def ls(self, path, detail=True, **how):
            if path.endswith("/b") and refuses:
                raise OSError(5, "503")
            itself = {"name": path, "type": "directory", "size": 0}
            return [itself, *super().ls(path, detail, **how)]

    fsspec.register_implementation("plain", Plain, clobber=True)
    for name in ("a/one.wav", "b/two.wav", "b/c/three.wav", "four.wav"):
        store.pipe_file(f"/music/{name}", b"x")
    refuses = False
    names = [o.url.rpartition(b"/music/")[2] for o in list_objects(b"plain:///music").objects]
    assert sorted(names) == [b"a/one.wav", b"b/c/three.wav", b"b/two.wav", b"four.wav"]
    refuses = True
    with pytest.raises(OSError, match="the object store says: 503"):
        list_objects(b"plain:///music")


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:hunter2@bucket/a",
        "s3://hunter2@bucket",
        "s3://key:hun/ter2@bucket/a",
        "s3://key:12/hunter2@bucket/a",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(url):
    with pytest.raises(UsageError, match="a user, a port or a password in it is refused") as caught:
        list_objects(url.encode())
    assert "hun" not in str(caught.value) and "bucket" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///music", "file:// is not an object store. Give a folder or a file by its path"),
        ("https://host/a.mp3?sig=x", "https:// is not an object store"),
        ("nosuch://music", "nosuch:// is not an object store that fsspec knows"),
        ("memory://", "memory:// names no bucket"),
    ],
)
def test_a_url_of_no_store_is_refused(url, said):
    with pytest.raises(UsageError, match=said) as caught:
        list_objects(url.encode())
    assert "sig" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "driver", "said"),
    [
        (b"s3://bucket", "s3fs", r"pip install 'auditor\[s3\]'"),
        (b"gs://bucket", "gcsfs", "install the driver that fsspec needs"),
    ],
)
def test_a_missing_driver_is_named(monkeypatch, url, driver, said):
    from fsspec.registry import _registry

    for scheme in ("s3", "gs"):
        monkeypatch.delitem(_registry, scheme, raising=False)
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(UsageError, match=f"(?i){driver}.*{said}"):
        list_objects(url)
