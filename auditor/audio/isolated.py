"""Decoding where a decoder may die: each file is decoded in a process that does nothing else.

FFmpeg reads strangers' bytes in C.  A file that crashes it, or that takes more memory or time than
sound is worth, ends a small process (``auditor.audio.decoder_process``), and the file is named and
left out.  One process serves one file after the other, so its start is paid once; while it decodes
a block, the caller works on the one before.

The process answers with JSON and samples, never with objects: what a decoder that was taken over
sends is data, too.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.credentials import can_be_read
from auditor.audio.facts import MEAN, AudioInfo, Mix, check_blocks
from auditor.audio.tags import Tags
from auditor.errors import (
    AUDIO_ERRORS,
    AudioError,
    AuditError,
    WorkerDiedError,
    show_path,
)
from auditor.serialisation import from_json

T = TypeVar("T")

HEADER = struct.Struct("<cI")
"""Kind and length of a message: R request, N next, S stop; I info, B block, E end, X error."""

AHEAD = 4
"""Blocks that are decoded before the first of them is taken."""

MAX_MESSAGE = 1 << 28

STALLED_S = 300.0
"""Wall time that a decoder may send nothing while it is waited for.  One that works on a block is
ended by its limit on processor time, 12 s (``decoder_process``); this is for one that is stopped,
or whose disk does not answer."""

_TICK_S = 5.0
"""The wait is counted in parts of so many seconds: what this process was stopped for is one."""

_MAX_IDLE = 2
_MAX_FILES = 500
"""A process is replaced after so many: what libraries leak stays small."""

_START = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "  # the parent decides
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from auditor.audio.decoder_process import serve; serve()"
)


class Decoder:
    """A process that decodes, one file at a time."""

    def __init__(self) -> None:
        path = [entry for entry in sys.path if isinstance(entry, str)]
        try:
            with _signals_held():
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _START, json.dumps(path)],
                    bufsize=0,  # else an answer may wait in the buffer, where no poll sees it
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,  # FFmpeg and PyAV complain there of files
                )
                _running.add(self)
        except OSError as error:
            raise AuditError(
                f"no process to decode audio can be started: {error.strerror}. Free some memory or "
                "raise the limit on processes."
            ) from None
        assert self._process.stdout is not None
        self._answers = select.poll() if hasattr(select, "poll") else None  # Windows has none
        if self._answers is not None:
            self._answers.register(self._process.stdout, select.POLLIN)
        self.n_files = 0
        self.usable = True

    def ask(self, request: dict[str, Any]) -> None:
        """Send a request: what to do, and with which file."""
        self.send(b"R", json.dumps(request).encode())

    def send(self, kind: bytes, data: bytes = b"") -> None:
        """Send a message; a process that died is noticed when its answer is read."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            message = memoryview(HEADER.pack(kind, len(data)) + data)
            while message:
                message = message[self._process.stdin.write(message) :]

    def receive(self, name: str) -> tuple[bytes, memoryview]:
        """Return the kind and the content of the next message.

        Raises
        ------
        WorkerDiedError
            If the process has died, or sends nothing for ``STALLED_S``; ``name`` is the file's.
        """
        try:
            kind, length = HEADER.unpack(self._read(HEADER.size, name))
            if length > MAX_MESSAGE:
                raise self._died(name)
            return kind, self._read(length, name)
        except KeyboardInterrupt:  # within a message: nobody can tell where the next one begins
            self.close()
            raise

    def _read(self, n_bytes: int, name: str) -> memoryview:
        assert self._process.stdout is not None
        data = memoryview(bytearray(n_bytes))
        n_read = 0
        while n_read < n_bytes:
            self._wait(name)
            n = self._process.stdout.readinto(data[n_read:])  # type: ignore[attr-defined]
            if not n:
                raise self._died(name)
            n_read += n
        return data

    def _wait(self, name: str) -> None:
        """Wait until there is something to read, or the process has died."""
        if self._answers is None:
            return
        waited_s, tick_s = 0.0, min(_TICK_S, STALLED_S)
        while not self._answers.poll(1000.0 * tick_s):
            waited_s += tick_s
            if waited_s >= STALLED_S:
                self.close()
                raise WorkerDiedError(
                    f"{name}: the decoder sent nothing for {STALLED_S:.0f} s and was ended. Check "
                    "whether the disk answers; the next run tries the file again."
                )

    def _died(self, name: str) -> AudioError:
        self.usable = False
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:  # it sends nonsense
            self.close()
            code = self._process.returncode
        if self.n_files == 0 and code > 0:
            return WorkerDiedError(
                f"{name}: the process that decodes audio does not start (exit code {code}). Check "
                "the installation: python -c 'import av'"
            )
        if code == -getattr(signal, "SIGXCPU", 0):
            return AudioError(
                f"{name}: decoding it took much longer than its sound is worth and was stopped. "
                "Convert it to FLAC or MP3.",
                code="too-slow",
            )
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return WorkerDiedError(
            f"{name}: the decoder crashed ({how}). Check the file, and whether there is enough "
            "memory."
        )

    def close(self) -> None:
        """End the process."""
        self.usable = False
        _running.discard(self)
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.wait()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Let no Ctrl-C come between the start of a process and the moment that it is known.

    It comes right after.  The process inherits that it is deaf to these signals, which it is to be.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    ending = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_idle: list[Decoder] = []
_running: set[Decoder] = set()
"""Those that are idle and those that decode: none of them outlives this process."""

_lock = threading.Lock()


def warm_up() -> None:
    """Start a decoder that the next file will find ready; return at once."""
    _put_back(_take())


def _take() -> Decoder:
    with _lock:
        return _idle.pop() if _idle else Decoder()


def _put_back(decoder: Decoder) -> None:
    with _lock:
        if decoder.usable and decoder.n_files < _MAX_FILES and len(_idle) < _MAX_IDLE:
            _idle.append(decoder)
            return
    decoder.close()


def _close_all() -> None:
    _idle.clear()
    while _running:
        _running.pop().close()


def _forget() -> None:
    """In a forked process: the decoders are the parent's."""
    global _lock
    _lock = threading.Lock()
    _idle.clear()
    _running.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class IsolatedReader:
    """An ``auditor.audio.decode.AudioReader`` whose work is done in another process.

    Parameters
    ----------
    path : str, bytes or os.PathLike
    sample_rate_hz, block_s, mix
        See ``AudioReader``; so are the attributes.

    Raises
    ------
    AudioError
        If the file cannot be opened or is no audio.
    WorkerDiedError
        If the decoder crashed, here or in ``blocks``.
    """

    def __init__(
        self,
        path: str | bytes | os.PathLike[str],
        *,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        block_s: float = 10.0,
        mix: Mix = MEAN,
    ) -> None:
        check_blocks(block_s, sample_rate_hz)
        self.sample_rate_hz = sample_rate_hz
        self.n_bad_packets, self.truncated = 0, False
        self.better_mix: Mix | None = None
        self._n_samples, self._started, self._done = 0, False, False
        self._name, self._absolute = show_path(path), show_path(_absolute(path))
        decoder = _take()
        self._decoder: Decoder | None = decoder
        decoder.ask(
            {
                "do": "decode",
                "path": _absolute(path).hex(),
                "sample_rate_hz": sample_rate_hz,
                "block_s": block_s,
                "mix": dataclasses.asdict(mix),
            }
        )
        try:
            kind, data = decoder.receive(self._name)
            if kind != b"I":
                self._done = True
                raise self._error(data)
            self.info = _info(json.loads(bytes(data)))
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        interrupted = error is not None and not isinstance(error, Exception)
        if interrupted and self._decoder is not None:
            self._decoder.close()  # what it is at is waited for no more
        self.close()

    def close(self) -> None:
        """Let the process go on with another file; the counts stay readable."""
        decoder, self._decoder = self._decoder, None
        if decoder is None:
            return
        if decoder.usable and not self._done:
            decoder.send(b"S")
            try:
                kind = b""
                while kind not in (b"E", b"X"):
                    kind, data = decoder.receive(self._name)
                if kind == b"E":
                    self._take_end(data)
            except AudioError:  # it died of what nobody waits for any more
                pass
            except BaseException:
                decoder.close()
                raise
        decoder.n_files += 1
        _put_back(decoder)

    @property
    def duration_s(self) -> float:
        """Seconds decoded so far."""
        return self._n_samples / self.sample_rate_hz

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield what ``AudioReader.blocks`` does, and raise the same."""
        if self._started:
            raise ValueError("blocks() was called twice; open the file again")
        self._started = True
        while not self._done:
            decoder = self._decoder
            if decoder is None:
                raise ValueError("the reader is closed")
            kind, data = decoder.receive(self._name)
            if kind == b"B":
                decoder.send(b"N")
                block = np.frombuffer(data, np.float32)
                self._n_samples += len(block)
                yield block
                continue
            self._done = True
            if kind != b"E":
                raise self._error(data)
            self._take_end(data)

    def _error(self, data: memoryview) -> AudioError:
        """Return the error that the decoder told of, with the path as it was given."""
        told = json.loads(bytes(data))
        message = told["message"]
        if message.startswith(self._absolute):
            message = self._name + message.removeprefix(self._absolute)
        return AUDIO_ERRORS.get(told["kind"], AudioError)(message, code=told["code"])

    def _take_end(self, data: memoryview) -> None:
        end = json.loads(bytes(data))
        self.n_bad_packets, self.truncated = end["n_bad_packets"], end["truncated"]
        self.info = _info(end["info"])
        self.better_mix = Mix(**end["better_mix"]) if end["better_mix"] else None


def _info(data: dict[str, Any]) -> AudioInfo:
    return AudioInfo(**{**data, "parts_s": tuple(data["parts_s"])})


def _absolute(path: str | bytes | os.PathLike[str]) -> bytes:
    """Return a path that means the same in a process whose working directory is another."""
    return os.path.abspath(os.fsencode(path))


def hear(
    path: str | bytes | os.PathLike[str],
    listen: Callable[[IsolatedReader], T],
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> T:
    """Open a file and listen to it; once more with another mix where the first hides what it holds.

    Parameters
    ----------
    path : path
    listen : callable
        Takes a reader and draws its blocks, or the first of them; what it returns last counts.
    sample_rate_hz : int
        Rate of the blocks.
    """
    with IsolatedReader(path, sample_rate_hz=sample_rate_hz) as reader:
        heard = listen(reader)
    if reader.better_mix is None:
        return heard
    with IsolatedReader(path, sample_rate_hz=sample_rate_hz, mix=reader.better_mix) as reader:
        return listen(reader)


def load_waveform(
    path: str | bytes | os.PathLike[str],
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    max_s: float = 7200.0,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> np.ndarray:
    """Decode a file, or a part of it, into memory.

    Parameters
    ----------
    path : str, bytes or os.PathLike
        File to read.
    start_s : float
        Seconds to leave out at the start; decoded and dropped, so the position is exact.
    duration_s : float, optional
        Seconds to return at most; everything if None.
    max_s : float
        The result never holds more than this many seconds.
    sample_rate_hz : int
        Rate of the result.

    Returns
    -------
    numpy.ndarray
        (n,) float32 mono; shorter than ``duration_s`` where the file ends.

    Raises
    ------
    AudioError
        If the file cannot be read, ends before ``start_s``, or is longer than ``max_s``.
    ValueError
        If ``start_s`` is negative or ``duration_s`` not positive.
    """
    if start_s < 0 or (duration_s is not None and duration_s <= 0):
        raise ValueError(
            f"start_s is {start_s}, duration_s {duration_s}; "
            "they must be at least 0 and above 0 respectively"
        )
    start = round(start_s * sample_rate_hz)
    limit = round(max_s * sample_rate_hz)
    wanted = limit + 1 if duration_s is None else round(duration_s * sample_rate_hz)

    def listen(reader: IsolatedReader) -> tuple[list[np.ndarray], int, int]:
        parts: list[np.ndarray] = []
        position = n_taken = 0
        for block in reader.blocks():
            part = block[max(0, start - position) :][: wanted - n_taken]
            position += len(block)
            if len(part):
                parts.append(part)
                n_taken += len(part)
            if n_taken >= wanted:
                break
        return parts, n_taken, position

    parts, n_taken, position = hear(path, listen, sample_rate_hz=sample_rate_hz)
    if n_taken > limit:
        raise AudioError(
            f"{show_path(path)}: is longer than {max_s:g} s, the most that is read at once. "
            "Give a shorter excerpt."
        )
    if not parts:
        raise AudioError(
            f"{show_path(path)}: holds {position / sample_rate_hz:.1f} s of audio; an excerpt from "
            f"{start_s:g} s was requested. Give an earlier start."
        )
    return np.concatenate(parts)


def read_tags(path: str | bytes | os.PathLike[str]) -> Tags:
    """Return what ``auditor.audio.tags.read_tags`` does, and a C2PA manifest, where one is read.

    Both are read in another process.  A file whose tags crash their reader has none.
    """
    tags = _asked(path, "tags", Tags())
    return _asked(path, "credentials", tags) if can_be_read() else tags


def _asked(path: str | bytes | os.PathLike[str], what: str, known: Tags) -> Tags:
    """Return tags with what another process reads of them."""
    decoder = _take()
    try:
        decoder.ask({"do": what, "path": _absolute(path).hex()})
        kind, data = decoder.receive(show_path(path))
        if kind != b"E":
            return known
        return from_json(Tags, dataclasses.asdict(known) | json.loads(bytes(data)), where="tags")
    except (AudioError, ValueError):
        return known
    except BaseException:
        decoder.close()
        raise
    finally:
        decoder.n_files += 1
        _put_back(decoder)
