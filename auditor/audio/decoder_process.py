"""The process that decodes for ``auditor.audio.isolated``: the other end of its pipes.

It has a ceiling on memory and, for each file, on processor time.  What needs more than its music
can be worth ends the process, or this file, and nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import signal
import sys
import time
from typing import Any, BinaryIO

from auditor.audio.credentials import read_credentials
from auditor.audio.decode import AudioReader
from auditor.audio.facts import Mix
from auditor.audio.isolated import AHEAD, HEADER
from auditor.audio.tags import read_tags
from auditor.errors import AudioError, show_path

MEMORY_BYTES = 512 << 20
"""What a file may take, beyond what the process takes without one."""

CPU_S, CPU_SHARE = 10.0, 0.15
"""Processor seconds that a file may take: so many, and so many for each second decoded."""


def serve() -> None:
    """Answer requests on standard input until it is closed."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # the parent decides when to stop
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):  # no library may write between the messages
        os.dup2(nothing, standard)
    _limit_memory()
    try:
        while request := _receive(source):
            kind, data = request
            if kind == b"R":
                _answer(json.loads(data), source, target)
    except (BrokenPipeError, EOFError):  # nobody is there any more
        pass
    os._exit(0)  # no library may hang on its way out


def _answer(request: dict[str, Any], source: BinaryIO, target: BinaryIO) -> None:
    path = bytes.fromhex(request["path"])
    try:
        _limit_time(0.0)
        if request["do"] == "tags":
            end = dataclasses.asdict(read_tags(path))
        elif request["do"] == "credentials":
            end = {"c2pa": read_credentials(path)}
        else:
            end = _decode(path, request, source, target)
        _send(target, b"E", end)
    except (BrokenPipeError, EOFError):
        raise
    except AudioError as error:
        told = {"kind": type(error).__name__, "message": str(error), "code": error.code}
        _send(target, b"X", told)
    except MemoryError:
        message = (
            f"{show_path(path)}: decoding it takes more than {MEMORY_BYTES >> 20} MB of memory. "
            "Convert it to FLAC or MP3 without its tags and pictures."
        )
        _send(target, b"X", {"kind": "AudioError", "message": message, "code": "too-large"})
    except Exception as error:  # no file may end a run, whatever it makes a library raise
        message = f"{show_path(path)}: decoding it failed ({type(error).__name__}: {error})"
        _send(target, b"X", {"kind": "AudioError", "message": message, "code": "unreadable"})


def _decode(
    path: bytes, request: dict[str, Any], source: BinaryIO, target: BinaryIO
) -> dict[str, Any]:
    """Send information, then blocks as they are asked for; return what is known at the end."""
    rate_hz = request["sample_rate_hz"]
    mix = Mix(**request["mix"])
    with AudioReader(path, sample_rate_hz=rate_hz, block_s=request["block_s"], mix=mix) as reader:

        def end(better: Mix | None) -> dict[str, Any]:
            return {
                "info": dataclasses.asdict(reader.info),
                "n_bad_packets": reader.n_bad_packets,
                "truncated": reader.truncated,
                "better_mix": dataclasses.asdict(better) if better else None,
            }

        _send(target, b"I", dataclasses.asdict(reader.info))
        n_ahead = 0
        started_s = time.process_time()
        for block in reader.blocks():
            _limit_time(reader.duration_s, started_s)
            while n_ahead >= AHEAD:
                message = _receive(source)
                if message is None:
                    raise EOFError
                if message[0] == b"S":
                    return end(reader.better_channels())
                n_ahead -= 1
            target.write(HEADER.pack(b"B", block.nbytes))
            target.write(block.data.cast("B"))
            target.flush()
            n_ahead += 1
        return end(reader.better_mix)


def _receive(source: BinaryIO) -> tuple[bytes, bytes] | None:
    head = source.read(HEADER.size)
    if len(head) < HEADER.size:
        return None
    kind, length = HEADER.unpack(head)
    return kind, source.read(length)


def _send(target: BinaryIO, kind: bytes, data: dict[str, Any]) -> None:
    text = json.dumps(data).encode()
    target.write(HEADER.pack(kind, len(text)) + text)
    target.flush()


def _limit_memory() -> None:
    """Set the ceiling on memory, where the system has one."""
    if sys.platform != "linux":
        return
    import resource

    with contextlib.suppress(OSError, ValueError):
        with open("/proc/self/statm", encoding="ascii") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = taken + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time(decoded_s: float, started_s: float | None = None) -> None:
    """Move the ceiling on processor time to what a file may take that was decoded so far."""
    if sys.platform == "win32":
        return
    import resource

    started_s = time.process_time() if started_s is None else started_s
    limit = math.ceil(started_s + CPU_S + CPU_SHARE * decoded_s)
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (limit if hard < 0 else min(limit, hard), hard))
