"""The entry point: ``audit``, and ``python -m auditor``.

A signal that ends the run (Ctrl-C, SIGTERM, SIGHUP) is handled before anything heavy is imported:
what is open is closed, no process is left behind, and the exit code is 128 plus the signal's
number.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import weakref
from types import FrameType

from auditor.errors import Stopped

_ENDING = [
    number
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if (number := getattr(signal, name, None)) is not None
]
_AGAIN_S = 0.05
_PATIENCE_S = 1.0
"""So long an import is waited for: an exception within may abort a library, or be swallowed."""

_INTERRUPTED = 130
"""What ``auditor.cli`` and typer make of every ``KeyboardInterrupt``."""


class _Stopper:
    """The handler of the signals that end a run: it raises ``Stopped`` until that was heeded.

    Nothing is raised within an import: the signal comes again after it, and ends the process at
    once where the import takes long.  An exception that a callback has swallowed is raised anew.
    """

    def __init__(self) -> None:
        self.number = 0
        self.done = False
        self._first_s = 0.0
        self._raised: weakref.ref[Stopped] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        under_way = self._raised is not None and self._raised() is not None
        if self.done or (under_way and number != signal.SIGINT):
            return  # timeout(1), for one, sends SIGTERM twice
        if not self.number:
            self.number, self._first_s = number, time.monotonic()
        if not _is_in_import(frame):
            raise self._new(number)
        if time.monotonic() - self._first_s > _PATIENCE_S:
            with contextlib.suppress(OSError):
                os.write(2, b"audit: stopped\n")
            os._exit(128 + self.number)
        self._send_again()

    def _new(self, number: int) -> Stopped:  # no frame of its traceback may hold it
        stopped = Stopped(number)
        self._raised = weakref.ref(stopped, self._gone)
        return stopped

    def _gone(self, _reference: weakref.ref[Stopped]) -> None:
        if not self.done:
            self._send_again()

    def _send_again(self) -> None:
        main_thread = threading.main_thread().ident  # a system call of its may have to end
        again = threading.Timer(_AGAIN_S, signal.pthread_kill, (main_thread, self.number))
        again.daemon = True
        again.start()


def _is_in_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def main() -> None:
    """Run the command line; the ``audit`` console script.

    Raises
    ------
    SystemExit
        With the exit code of the command, or 128 plus the number of the signal that ended it.
    """
    stopper = _Stopper()
    try:
        for number in _ENDING:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, stopper)  # one that nohup or a shell had ignored stays so
    except KeyboardInterrupt:  # between Python's own start and here
        sys.exit(_INTERRUPTED)
    show = sys.unraisablehook
    sys.unraisablehook = lambda what: None if what.exc_type is Stopped else show(what)
    code: object = 0
    try:
        from auditor.cli import main as run

        run()
    except Stopped:  # before a command ran, or after
        stopper.done = True
        with contextlib.suppress(OSError, ValueError):
            print("audit: stopped", file=sys.stderr, flush=True)
        code = _INTERRUPTED
    except SystemExit as end:
        stopper.done = True
        code = end.code
    finally:
        stopper.done = True
    if stopper.number and code == _INTERRUPTED:
        code = 128 + stopper.number
        _end_processes()
    sys.exit(code)  # type: ignore[arg-type]


def _end_processes() -> None:
    """Kill the worker processes of ``multiprocessing``, and the server that starts them."""
    if "multiprocessing.process" not in sys.modules:
        return
    import multiprocessing

    children = multiprocessing.active_children()
    for child in children:
        child.kill()
    for child in children:
        child.join()
    # It would notice by itself, but not while it imports.
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    if number := getattr(server, "_forkserver_pid", None):
        with contextlib.suppress(OSError):
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)


if __name__ == "__main__":
    main()
