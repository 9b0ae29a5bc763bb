"""Play an audio file, or open it, with a program that is there; never through a shell."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

OPENERS = ("xdg-open", "open")
PLAYERS = (
    (
        ("ffplay", "-nodisp", "-autoexit", "-loglevel", "quiet"),
        ("-ss", "{start}", "-t", "{length}"),
    ),
    (("mpv", "--no-video", "--really-quiet"), ("--start={start}", "--length={length}")),
    (("cvlc", "--play-and-exit", "--quiet"), ("--start-time={start}", "--stop-time={end}")),
    (("afplay",), ()),
)
"""Programs that play one file and end, and what makes them play a part of it, where they can; the
first one that is there is taken."""


class Player:
    """Plays or opens one file after another by programs of the system; ends them on ``close``."""

    def __init__(self) -> None:
        self._playing: subprocess.Popen[bytes] | None = None
        self._opened: list[subprocess.Popen[bytes]] = []

    def play(self, path: str, part: tuple[float, float] | None = None) -> bool:
        """Play a file in place of the one that plays; False if no program is there for it.

        Parameters
        ----------
        path : str
        part : (float, float), optional
            Play it from and to these seconds, if the program can.
        """
        self.stop()
        for (name, *options), of_part in PLAYERS:
            if program := shutil.which(name):
                if part is not None:
                    start, end = part
                    times = {"start": start, "end": end, "length": end - start}
                    shown = {name: f"{seconds:.2f}" for name, seconds in times.items()}
                    options += [option.format(**shown) for option in of_part]
                self._playing = _start([program, *options, os.path.abspath(path)])
                return self._playing is not None
        return self.open(path)

    def plays_parts(self) -> bool:
        """Say whether the program that plays can play a part of a file."""
        programs = (of_part for (name, *_), of_part in PLAYERS if shutil.which(name))
        return bool(next(programs, ()))

    def open(self, path: str) -> bool:
        """Open a file as a double click would; False if no program is there for it."""
        for name in OPENERS:
            if program := shutil.which(name):
                started = _start([program, os.path.abspath(path)])
                if started:
                    self._opened.append(started)
                return started is not None
        if start := getattr(os, "startfile", None):
            start(os.path.abspath(path))
            return True
        return False

    def stop(self) -> None:
        """End what plays."""
        if self._playing:
            self._playing.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._playing.wait(timeout=2.0)
            if self._playing.poll() is None:
                self._playing.kill()
                self._playing.wait()
            self._playing = None

    def close(self) -> None:
        """End what plays; what was opened stays open."""
        self.stop()
        for started in self._opened:
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(timeout=0.5)
            started.returncode = started.returncode or 0  # no warning of one that stays open
        self._opened.clear()


def _start(command: list[str]) -> subprocess.Popen[bytes] | None:
    none = subprocess.DEVNULL
    with contextlib.suppress(OSError):
        return subprocess.Popen(command, stdin=none, stdout=none, stderr=none)
    return None
