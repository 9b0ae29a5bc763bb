"""Music in an object store: objects are named by URL, and read from a private copy.

``s3://bucket/music``, ``gs://...``, ``az://...``: what fsspec and the driver of the store know.
Their credentials are the store's own (environment, profile) and never part of a URL.  Names of
objects come from strangers: none of them decides where a copy lies, and none is taken for a pattern
or a chain of URLs.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import re
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from auditor.errors import AuditError, UsageError, file_changed, show_path
from auditor.serialisation import TemporaryFolder

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

BLOCK_BYTES = 8 << 20
"""Read, and asked for, at once."""

_URL = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://")
_AUTHORITY = re.compile(r"[^@:]*")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")
_VERSION = "?versionId="
_NO_STORES = ("file", "local", "http", "https")

# What stores call the time of the last change, and what else tells one content from another.
_TIMES = ("LastModified", "last_modified", "mtime", "modified", "created")
_TAGS = ("ETag", "etag", "md5Hash", "checksum")


class StoredObject(NamedTuple):
    """An object as its store lists it.

    Attributes
    ----------
    url : bytes
    size : int
        In bytes.
    stamp_ns : int
        Another number when it has changed: nanoseconds of the second of its last change (finer,
        some stores do not tell twice alike), and below a second a number made of the tag of its
        content.  0 in place of what the store does not tell.
    """

    url: bytes
    size: int
    stamp_ns: int


class Listing(NamedTuple):
    """What lies below a URL.

    Attributes
    ----------
    root : bytes
        The URL itself, in the spelling of its store.
    objects : list of StoredObject
    refused : dict of bytes to str
        URLs of objects that cannot be named by one, and the reason.
    """

    root: bytes
    objects: list[StoredObject]
    refused: dict[bytes, str]


def is_object(path: str | bytes | os.PathLike[str]) -> bool:
    """Say whether a path is the URL of an object, or of several, and no file of this machine.

    Examples
    --------
    >>> is_object("s3://bucket/a.mp3"), is_object("/music/s3:/a.mp3")
    (True, False)
    """
    return _URL.match(os.fsencode(path)) is not None


def list_objects(url: bytes) -> Listing:
    """Return the object of a URL, or those below it but for hidden ones, of any extension.

    Where there are both, a slash at the end of the URL asks for those below.

    Raises
    ------
    UsageError
        If no store has such URLs, its driver is not installed, or the URL carries a password.
    OSError
        If there is nothing, or the store cannot be asked.
    """
    files, path = _open_store(url)
    with _asking(url):
        info = files.info(path)
        whole = info["type"] == "file" and not url.endswith(b"/")
        found = {info["name"]: info} if whole else _find(files, path)
    listing = Listing(os.fsencode(files.unstrip_protocol(path)), [], {})
    for name, info in found.items():
        below = name.removeprefix(path)
        if info["type"] != "file" or (not whole and "/." in f"/{below}"):
            continue
        stored = _stored(files, info)
        named = files._strip_protocol(os.fsdecode(stored.url))
        if named == name and _VERSION not in name:
            listing.objects.append(stored)
        else:  # the URL would be taken for that of another object
            listing.refused[stored.url] = "cannot be named by a URL. Give the object another name."
    return listing


def _find(files: AbstractFileSystem, path: str) -> dict[str, dict[str, Any]]:
    """Return what lies below a path, by name; what cannot be listed is an error."""
    from fsspec import AbstractFileSystem
    from fsspec.asyn import AsyncFileSystem

    own = type(files).find is not AbstractFileSystem.find
    if isinstance(files, AsyncFileSystem):
        own = type(files)._find is not AsyncFileSystem._find
    if own:
        return files.find(path, detail=True)
    # fsspec's own way leaves out folders that cannot be listed, and says nothing.
    found, folders = {}, [path]
    while folders:
        folder = folders.pop()
        for info in files.ls(folder, detail=True):
            if info["type"] == "directory":
                if info["name"].rstrip("/") != folder.rstrip("/"):  # some stores list it too
                    folders.append(info["name"])
            else:
                found[info["name"]] = info
    return found


def look_up(url: bytes) -> StoredObject:
    """Return an object as it is now.

    Raises
    ------
    UsageError, OSError
        See ``list_objects``; FileNotFoundError if there is no object of this name.
    """
    files, path = _open_store(url)
    with _asking(url):
        info = files.info(path)
        if info["type"] != "file" or info["name"] != path:
            raise FileNotFoundError
    return _stored(files, info)


def read_start(url: bytes, n_bytes: int) -> bytes:
    """Return the first bytes of an object, fewer where it is shorter.

    Raises
    ------
    UsageError, OSError
        If the store cannot be asked, see ``list_objects``.
    """
    files, path = _open_store(url)
    with _asking(url), files.open(path, "rb", cache_type="none") as source:
        return source.read(n_bytes)


def exists(url: bytes) -> bool:
    """Say whether there is an object of this URL, or one below it.

    Raises
    ------
    UsageError, OSError
        If the store cannot be asked, see ``list_objects``.
    """
    files, path = _open_store(url)
    try:
        with _asking(url):
            files.info(path)
    except FileNotFoundError:
        return False
    return True


@contextlib.contextmanager
def fetched(
    path: str | bytes | os.PathLike[str], *, size: int | None = None
) -> Iterator[str | bytes | os.PathLike[str]]:
    """Yield where the content of a path can be read: itself, or a copy that ends with the ``with``.

    The copy lies in a folder of its own below ``TMPDIR`` that nobody else can read.  Errors about
    it name the object.

    Parameters
    ----------
    path : path
        A file or the URL of an object.
    size : int, optional
        Bytes that the object was listed with.

    Raises
    ------
    AudioError
        If it is of another size.
    UsageError, OSError
        See ``list_objects``; or if there is no room for a copy.
    """
    if not is_object(path):
        yield path
        return
    with contextlib.ExitStack() as stack:
        with _copying():
            folder = stack.enter_context(TemporaryFolder())
        suffix = os.path.splitext(os.fsdecode(path))[1].lower()
        copy = os.path.join(folder, "audio" + (suffix if _SUFFIX.fullmatch(suffix) else ""))
        _download(os.fsencode(path), copy, size)
        try:
            yield copy
        except AuditError as error:
            text = str(error).replace(show_path(copy), show_path(path))
            raise type(error)(text) from None


def _download(url: bytes, copy: str, size: int | None) -> None:
    files, path = _open_store(url)
    with _asking(url):
        source = files.open(path, "rb", cache_type="none")
        n_there = source.seek(0, os.SEEK_END)
        source.seek(0)
    n_read = 0
    with source, open(copy, "xb") as target:
        if size is not None and n_there != size:
            raise file_changed(url)
        while n_read < n_there:
            with _asking(url):
                block = source.read(min(BLOCK_BYTES, n_there - n_read))
            if not block:
                raise OSError(errno.EIO, f"{n_read:,} of {n_there:,} bytes came")
            with _copying():
                target.write(block)
                target.flush()
            n_read += len(block)


def _open_store(url: bytes) -> tuple[AbstractFileSystem, str]:
    """Return the store of a URL, and what it calls the object.

    ``fsspec.core.url_to_fs`` would take an object's name with ``::`` in it for a chain of URLs.
    """
    scheme, _, rest = os.fsdecode(url).partition("://")
    scheme = scheme.lower()
    if not _AUTHORITY.fullmatch(rest.partition("/")[0]):
        raise UsageError(
            f"a {scheme}:// URL with a user, a port or a password in it is refused: it would be "
            "kept and shown. Give it without, and the credentials by the environment or a profile."
        )
    if scheme in _NO_STORES:
        raise UsageError(
            f"{scheme}:// is not an object store. Give a folder or a file by its path, or a URL "
            "such as s3://BUCKET/NAME."
        )
    try:
        from fsspec import get_filesystem_class

        kind = get_filesystem_class(scheme)
    except ImportError as error:
        needed = "auditor[s3]" if scheme in ("s3", "s3a") else "fsspec"
        raise UsageError(
            f"{scheme}:// cannot be read: {error}. Run: pip install '{needed}', or install the "
            "driver that fsspec needs for this store."
        ) from None
    except ValueError:
        raise UsageError(
            f"{scheme}:// is not an object store that fsspec knows. Give a folder or a file by "
            "its path, or a URL such as s3://BUCKET/NAME."
        ) from None
    with _asking(url):
        files = kind(use_listings_cache=False)
    path = files._strip_protocol(f"{scheme}://{rest}")
    if not path.strip("/"):
        raise UsageError(f"{scheme}:// names no bucket. Give a URL such as s3://BUCKET/NAME.")
    return files, path


def _stored(files: AbstractFileSystem, info: dict[str, Any]) -> StoredObject:
    url = os.fsencode(files.unstrip_protocol(info["name"]))
    return StoredObject(url, int(info["size"] or 0), _stamp_ns(info))


def _stamp_ns(info: dict[str, Any]) -> int:
    times = (info.get(name) for name in _TIMES)
    time = next((t for t in times if isinstance(t, datetime.datetime | int | float)), 0)
    tag = next((str(info[name]).strip('"') for name in _TAGS if info.get(name)), "")
    if isinstance(time, datetime.datetime):
        zone = time.tzinfo or datetime.UTC  # that of no node
        time = time.replace(tzinfo=zone).timestamp()
    return int(time) * 10**9 + zlib.crc32(tag.encode()) % 10**9


@contextlib.contextmanager
def _asking(url: bytes) -> Iterator[None]:
    """Tell every failure of a store as OSError.

    Errors that are not of this kind come from libraries, which may quote what is secret: their
    name alone is told.
    """
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "no such object", url) from None
    except OSError as error:
        lines = (error.strerror or str(error)).strip().splitlines()
        text = lines[0][:200] if lines else type(error).__name__
        number = errno.EACCES if isinstance(error, PermissionError) else errno.EIO
        raise OSError(number, f"the object store says: {text}", url) from error
    except Exception as error:
        text = f"the object store cannot be asked ({type(error).__name__})"
        raise OSError(errno.EIO, text, url) from error


@contextlib.contextmanager
def _copying() -> Iterator[None]:
    """Tell what is wrong with this machine from what is wrong with the store."""
    try:
        yield
    except OSError as error:
        text = f"no copy can be made below TMPDIR: {error.strerror}. Free some space, or set TMPDIR"
        raise OSError(errno.EIO, text) from error
