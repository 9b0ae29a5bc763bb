"""``audit --log-format json``: what a command says on stderr, a line of JSON each.

Results on stdout stay as they are.  Every line that is written to stderr becomes an object with the
time, the process and the message; progress comes as one line every ten seconds.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
from enum import StrEnum
from typing import TextIO

from auditor.errors import escape_json


class LogFormat(StrEnum):
    """How messages are written to stderr."""

    TEXT = "text"
    JSON = "json"


class JsonLog(io.TextIOBase):
    r"""A text stream that writes each line to another one as JSON.

    Parameters
    ----------
    target : text stream

    Examples
    --------
    >>> target = io.StringIO()
    >>> log = JsonLog(target)
    >>> _ = log.write("one\ntwo")
    >>> json.loads(target.getvalue())["message"]
    'one'
    """

    def __init__(self, target: TextIO) -> None:
        self._target, self._rest = target, ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the target."""
        return self._target.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the target writes what it cannot encode."""
        return self._target.errors

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def isatty(self) -> bool:
        """Say that it is no terminal: nothing is drawn over a line."""
        return False

    def fileno(self) -> int:
        """Return the descriptor of the target."""
        return self._target.fileno()

    def write(self, text: str) -> int:
        """Take text; whole lines are written at once, empty ones are not."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._write_line(line)
        return len(text)

    def flush(self) -> None:
        """Pass on what was written."""
        self._target.flush()

    def close(self) -> None:
        """Write a last line that has no end yet; the target stays open."""
        rest, self._rest = self._rest, ""
        with contextlib.suppress(OSError, ValueError):
            self._write_line(rest)
            self._target.flush()

    def _write_line(self, line: str) -> None:
        if not line.strip():
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        entry = {"time": now.replace("+00:00", "Z"), "pid": os.getpid(), "message": line.rstrip()}
        self._target.write(escape_json(json.dumps(entry, ensure_ascii=False)) + "\n")
