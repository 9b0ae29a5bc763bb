"""Files that strangers send or name: streamed to the disk, named harmlessly, below allowed roots.

A form is read as it comes (RFC 7578): the file goes to the disk piece by piece and is hashed on the
way, so neither its size nor what the request says of its size matters to the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from auditor.audio.formats import NOT_READ, SUFFIXES, TRANSPORT_SUFFIX
from auditor.audio.object_store import is_object
from auditor.errors import AuditError, show_path
from auditor.serve.settings import Settings

MAX_FIELDS, MAX_FIELD_BYTES, MAX_PART_HEADER_BYTES = 24, 4096, 4096
MAX_NAME_BYTES = 120
_BUFFER_BYTES = 1 << 20
_KNOWN_SUFFIXES = SUFFIXES | NOT_READ.keys() | {TRANSPORT_SUFFIX}


class UploadError(AuditError):
    """A request whose body cannot be taken.

    Parameters
    ----------
    status : int
        Of the answer.
    code : str
        What clients go by.
    message : str
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class ReceivedForm:
    """A form that was read: its fields, and the file, which lies at ``path``.

    Attributes
    ----------
    fields : dict of str to str
    path : pathlib.Path or None
        None where there was no file.
    name : str
        Of the file, as the request calls it.
    size : int
    sha256 : str
    """

    fields: dict[str, str] = field(default_factory=dict)
    path: Path | None = None
    name: str = ""
    size: int = 0
    sha256: str = ""


def safe_name(name: str) -> str:
    r"""Return the name of an upload as a file may have it: no folder, nothing hidden, not long.

    Only extensions of music are kept: the others would say how a file is to be decoded.

    Examples
    --------
    >>> safe_name("../../etc/passwd"), safe_name("C:\\music\\a b.MP3"), safe_name("a\n\u202e.wav")
    ('passwd', 'a b.mp3', 'a__.wav')
    >>> safe_name("..."), safe_name(".hidden.mp3")
    ('upload', 'hidden.mp3')
    """
    last = re.split(r"[/\\]", name)[-1]
    stem, suffix = os.path.splitext(last)
    if suffix.lower() not in _KNOWN_SUFFIXES:
        stem, suffix = last, ""
    stem = "".join(c if c.isprintable() else "_" for c in stem).strip(" .")
    stem = stem.encode("utf-8", "replace")[:MAX_NAME_BYTES].decode("utf-8", "ignore").strip(" .")
    return (stem or "upload") + suffix.lower()


def resolve(path: str, roots: Sequence[bytes]) -> bytes:
    """Return what a request names, links resolved, if it lies below one of the roots.

    Parameters
    ----------
    path : str
        A path, or a URL of an object store.
    roots : sequence of bytes
        See ``settings.check_root``.

    Raises
    ------
    UploadError
        If it lies elsewhere, or is no file.  What there is elsewhere is not told.
    """
    refused = UploadError(
        403, "denied", "the path lies below none of the folders that this service allows (--root)."
    )
    if "\0" in path or not path:
        raise refused
    if is_object(path):
        url = os.fsencode(path)
        parts = url.split(b"/")
        plain = parts[-1] != b"" and not {b".", b".."} & {*parts} and b"?" not in url
        if plain and any(is_object(r) and url.startswith(r + b"/") for r in roots):
            return url
        raise refused
    if not os.path.isabs(path):
        raise refused
    real = os.path.realpath(os.fsencode(path))
    if not any(not is_object(r) and _is_below(real, r) for r in roots):
        raise refused
    if not os.path.isfile(real):
        raise UploadError(422, "not-found", f"{show_path(path)} is no file.")
    return real


def _is_below(path: bytes, root: bytes) -> bool:
    return path.startswith(root.rstrip(b"/") + b"/")


def hash_path(path: bytes) -> tuple[int, str]:
    """Return the size and the SHA-256 of a file.

    Raises
    ------
    UploadError
        If it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            while block := file.read(_BUFFER_BYTES):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise UploadError(422, "denied", f"{show_path(path)}: {error.strerror}.") from None
    return size, digest.hexdigest()


def folder_bytes(folder: Path) -> int:
    """Return the bytes of the files below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


class DiskQuota:
    """Bytes that uploads may take, all together; those that come are reserved before.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reserved = 0
        self._used, self._counted_s = 0, float("-inf")

    def check(self, wanted: int) -> None:
        """Raise UploadError unless so many further bytes have room."""
        settings = self._settings
        if time.monotonic() - self._counted_s > 5.0:
            self._used, self._counted_s = folder_bytes(settings.uploads), time.monotonic()
        free = shutil.disk_usage(settings.uploads).free
        over = self._used + self._reserved + wanted > settings.max_disk_bytes
        if over or free - self._reserved - wanted < settings.min_free_bytes:
            raise UploadError(
                507, "disk-full", "there is no room for further uploads. Send the file again later."
            )

    def reserve(self, n_bytes: int) -> None:
        """Count bytes that are about to be written."""
        self._reserved += n_bytes

    def release(self, n_bytes: int) -> None:
        """Take them back: they are on the disk, or were never written."""
        self._reserved -= n_bytes
        self._counted_s = float("-inf")


async def receive_form(
    stream: AsyncIterator[bytes],
    boundary: bytes,
    target: Path,
    *,
    settings: Settings,
    quota: DiskQuota,
) -> ReceivedForm:
    """Read a form whose file goes to ``target``, which is removed again if anything is wrong.

    Parameters
    ----------
    stream : async iterator of bytes
        The body of the request.
    boundary : bytes
    target : pathlib.Path
        In a folder that is made.
    settings : Settings
        Limits of size and speed.
    quota : DiskQuota

    Raises
    ------
    UploadError
        If it is malformed, too large, too slow, or ends early.
    """
    reader = _FormReader(target, settings, quota)
    try:
        await _read_all(stream, boundary, reader, settings)
        if not reader.ended:
            raise UploadError(400, "incomplete", "the request ended before its form did.")
        await asyncio.to_thread(reader.finish)
    except BaseException:
        reader.discard()
        raise
    finally:
        quota.release(reader.n_reserved)
    return reader.form


async def _read_all(
    stream: AsyncIterator[bytes], boundary: bytes, reader: _FormReader, settings: Settings
) -> None:
    from python_multipart.exceptions import MultipartParseError
    from python_multipart.multipart import MultipartParser

    callbacks = {name: getattr(reader, name) for name in dir(reader) if name.startswith("on_")}
    try:
        parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        async for chunk in paced(stream, settings):
            parser.write(chunk)
            if reader.wants_flush:
                await asyncio.to_thread(reader.flush)
        parser.finalize()
    except MultipartParseError as error:
        raise UploadError(400, "malformed", f"the form cannot be read: {error}") from None


async def paced(stream: AsyncIterator[bytes], settings: Settings) -> AsyncIterator[bytes]:
    """Yield the pieces of a body while they come fast enough.

    Raises
    ------
    UploadError
        If nothing comes for ``stall_s``, or after that less than ``min_bytes_per_s`` on average;
        or if the client goes away.
    """
    started, n_bytes = time.monotonic(), 0
    pieces = aiter(stream)
    while True:
        try:
            piece = await asyncio.wait_for(anext(pieces), settings.stall_s)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise UploadError(
                408, "too-slow", f"nothing came for {settings.stall_s:g} s. Send the file again."
            ) from None
        n_bytes += len(piece)
        elapsed = time.monotonic() - started
        if elapsed > settings.stall_s and n_bytes < elapsed * settings.min_bytes_per_s:
            raise UploadError(
                408,
                "too-slow",
                f"{n_bytes:,} bytes came in {elapsed:.0f} s; {settings.min_bytes_per_s:,} a second "
                "are needed. Send the file again.",
            )
        yield piece


class _FormReader:
    """What the parser of a form calls."""

    def __init__(self, target: Path, settings: Settings, quota: DiskQuota) -> None:
        self.form = ReceivedForm()
        self.ended = False
        self.n_reserved = 0
        self._target, self._settings, self._quota = target, settings, quota
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._waiting = bytearray()
        self._header = [bytearray(), bytearray()]
        self._headers: dict[str, str] = {}
        self._name = ""
        self._is_file = False
        self._value = bytearray()
        self._n_parts = 0

    @property
    def wants_flush(self) -> bool:
        return len(self._waiting) >= _BUFFER_BYTES

    def flush(self) -> None:
        """Write and hash what has come so far."""
        if self._file is not None and self._waiting:
            part, self._waiting = self._waiting, bytearray()
            self._digest.update(part)
            try:
                self._file.write(part)
            except OSError as error:
                raise UploadError(
                    507, "disk-full", f"the upload could not be stored: {error.strerror}."
                ) from None

    def finish(self) -> None:
        if self._file is None:
            return
        self.flush()
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UploadError(
                507, "disk-full", f"the upload could not be stored: {error.strerror}."
            ) from None
        self._file.close()
        self.form.path, self.form.sha256 = self._target, self._digest.hexdigest()

    def discard(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            shutil.rmtree(self._target.parent, ignore_errors=True)

    # Called by the parser.

    def on_part_begin(self) -> None:
        self._n_parts += 1
        if self._n_parts > MAX_FIELDS:
            raise UploadError(422, "malformed", f"the form has more than {MAX_FIELDS} fields.")
        self._headers, self._value = {}, bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._take_header(0, data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._take_header(1, data[start:end])

    def _take_header(self, place: int, piece: bytes) -> None:
        self._header[place] += piece
        if len(self._header[place]) > MAX_PART_HEADER_BYTES:
            raise UploadError(400, "malformed", "a header of the form is too long.")

    def on_header_end(self) -> None:
        name, value = (bytes(part).decode("utf-8", "replace") for part in self._header)
        self._headers[name.strip().lower()] = value.strip()
        self._header = [bytearray(), bytearray()]

    def on_headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        kind, options = parse_options_header(self._headers.get("content-disposition", ""))
        if kind != b"form-data" or b"name" not in options:
            raise UploadError(400, "malformed", "a part of the form has no name.")
        self._name = options[b"name"].decode("utf-8", "replace")
        self._is_file = self._name == "file"
        if not self._is_file:
            return
        if self._file is not None:
            raise UploadError(422, "malformed", "the form has two files; send one in each request.")
        self.form.name = options.get(b"filename", b"").decode("utf-8", "replace")
        self._target = self._target.parent / safe_name(self.form.name)
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._target, "xb")  # noqa: SIM115 - closed in finish or discard
        except OSError as error:
            raise UploadError(
                507, "disk-full", f"the upload cannot be stored: {error.strerror}."
            ) from None

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        n_bytes = end - start
        if not self._is_file:
            self._value += data[start:end]
            if len(self._value) > MAX_FIELD_BYTES:
                raise UploadError(
                    422, "malformed", f"a field of the form is longer than {MAX_FIELD_BYTES} bytes."
                )
            return
        self.form.size += n_bytes
        if self.form.size > self._settings.max_upload_bytes:
            raise too_large(self._settings)
        if self.form.size > self.n_reserved:
            more = max(16 << 20, n_bytes)
            self._quota.check(more)
            self._quota.reserve(more)
            self.n_reserved += more
        self._waiting += data[start:end]

    def on_part_end(self) -> None:
        if self._is_file:
            return
        try:
            value = self._value.decode("utf-8")
        except UnicodeDecodeError:
            raise UploadError(422, "malformed", "a field of the form is not UTF-8.") from None
        if self._name in self.form.fields:
            raise UploadError(422, "malformed", "a field of the form is given twice.")
        self.form.fields[self._name] = value

    def on_end(self) -> None:
        self.ended = True


def too_large(settings: Settings) -> UploadError:
    """Return the error of a file that is larger than what is taken."""
    limit = settings.max_upload_bytes
    return UploadError(413, "too-large", f"the file has more than {limit:,} bytes, the limit.")


async def drain(stream: AsyncIterator[bytes], settings: Settings, *, limit_s: float = 1.0) -> None:
    """Read on for a moment after a body was refused, so that its sender reads the answer."""
    with contextlib.suppress(TimeoutError, Exception):
        async with asyncio.timeout(limit_s):
            n_bytes = 0
            async for piece in stream:
                n_bytes += len(piece)
                if n_bytes > 64 << 20:
                    return
