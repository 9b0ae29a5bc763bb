"""A process that has imported what commands import, and forks for each program of a test.

A start of Python with all of audit takes seconds of processor time, and most tests that run a
program in a process of its own are not about the start.  Run by ``forks.ForkServer``, or by its
first line as a script; it imports when the first program comes, and ends when its standard input
is closed.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
import types

MODULES = (
    "auditor.cli",
    *(f"auditor.commands.{name}" for name in ("check", "decide", "recommend", "review", "scan")),
    "auditor.api.calibrate",
    "auditor.api.check",
    "auditor.api.map",
    "auditor.api.recommend",
    "auditor.api.scan",
    "auditor.audio.isolated",
    "auditor.ingest.embedders",
    "auditor.report.html.page",
    "auditor.report.media.build",
    "auditor.training.dataset",
)


def import_all() -> None:
    """Import what commands import, so that a fork shares it."""
    for name in MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a child's collections leave shared pages as they are


def leave(code: object) -> None:
    """End as an interpreter does, but for freeing memory that the child shares with its parent."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def become(job: dict, fds: list[int], path: list[str]) -> None:
    """In the child: run the code as ``python -c`` would; does not return."""
    code: object = 0
    try:
        if job["session"]:
            os.setsid()
        for fd, given in enumerate(fds):
            os.dup2(given, fd)
        for given in fds:
            os.close(given)
        os.chdir(os.fsencode(job["cwd"]))
        os.environ.clear()
        os.environ.update(job["env"])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored below nohup
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", 1, "utf-8", "backslashreplace", closefd=False)
        folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:] = ["", *filter(None, folders), *path]
        sys.argv = ["-c", *job["argv"]]
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(job["code"], "<string>", "exec"), vars(main))
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 1
    leave(code)


def receive(connection: socket.socket) -> tuple[dict, list[int]]:
    """Return a job and the three descriptors that came with it."""
    data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 16)
    return json.loads(data), list(fds)


def say(connection: socket.socket, **what: int) -> None:
    with contextlib.suppress(OSError):  # nobody waits for it any more
        connection.sendall(json.dumps(what).encode() + b"\n")


def serve(listener: socket.socket) -> None:
    """Fork for whoever connects; send the number of the process, and how it ended."""
    path = [entry for entry in sys.path if entry]
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    waiting.register(0, selectors.EVENT_READ)
    imported = False
    while True:
        for key, _ in waiting.select():
            if key.fileobj == 0:
                return
            if key.fileobj is not listener:
                os_pid, connection = key.data
                waiting.unregister(key.fileobj)
                os.close(key.fd)
                _, status = os.waitpid(os_pid, 0)
                say(connection, code=os.waitstatus_to_exitcode(status))
                connection.close()
                continue
            connection, _address = listener.accept()
            job, fds = receive(connection)
            if not imported:
                import_all()
                imported = True
            pid = os.fork()
            if pid == 0:
                mine = [*(k.fd for k in waiting.get_map().values()), connection.fileno()]
                others = [k.data[1].fileno() for k in waiting.get_map().values() if k.data]
                waiting.close()
                for fd in {*mine, *others} - {0, *fds}:
                    with contextlib.suppress(OSError):  # of a program that has just ended
                        os.close(fd)
                become(job, fds, path)
            for fd in fds:
                os.close(fd)
            say(connection, pid=pid)
            waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))


if __name__ == "__main__":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(64)
    print("ready", flush=True)
    serve(listener)
