"""Programs in a process of their own that need not import all of audit; see ``fork_server``.

As a script it is a stand-in for ``python -c CODE``, for a shell::

    python -I -S forks.py SOCKET CODE [ARGUMENT ...]
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile

ADDRESS = "AUDIT_TEST_FORKS"
"""The variable that says where the server listens; without it, programs are started as usual."""

AUDIT = "from auditor.cli import main; main()"
"""What ``python -m auditor.cli`` runs."""

HERE = os.path.dirname(os.path.abspath(__file__))


class Forked:
    """A running program; what of ``subprocess.Popen`` tests use.

    Parameters
    ----------
    address : str
        Where the server listens.
    code : str
        Python, run as by ``python -c``.
    argv : sequence of str or bytes
        Its arguments.
    fds : tuple of int
        Its standard input, output and error.
    env, cwd
        Its environment and folder; those of this process by default.
    session : bool
        Whether it leads a session of its own.
    """

    def __init__(self, address, code, argv, fds, *, env=None, cwd=None, session=False):
        job = {
            "code": code,
            "argv": [os.fsdecode(word) if isinstance(word, bytes) else str(word) for word in argv],
            "env": dict(os.environ if env is None else env),
            "cwd": os.fsdecode(os.getcwd() if cwd is None else cwd),
            "session": session,
        }
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(address)
        data = json.dumps(job).encode() + b"\n"
        n_sent = socket.send_fds(self._connection, [data], fds)
        self._connection.sendall(data[n_sent:])
        self.pid = self._answer()["pid"]
        self.returncode = None

    def _answer(self):
        line = b""
        while not line.endswith(b"\n"):
            byte = self._connection.recv(1)
            if not byte:
                raise RuntimeError("the process that runs the programs died")
            line += byte
        return json.loads(line)

    def wait(self, timeout=None):
        """Return the exit code, negative for a signal; TimeoutError if it does not end in time."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = self._answer()["code"]
            finally:
                self._connection.settimeout(None)
            self._connection.close()
        return self.returncode

    def send_signal(self, number):
        """Send it a signal, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self):
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def poll(self):
        """Return the exit code if it has ended."""
        if self.returncode is None:
            self._connection.setblocking(False)
            try:
                ended = bool(self._connection.recv(1, socket.MSG_PEEK))
            except BlockingIOError:
                return None
            finally:
                self._connection.setblocking(True)
            if ended:
                self.wait()
        return self.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_how):
        self.wait()


def start(code, *argv, stdin=None, stdout=None, stderr=None, **how):
    """Start Python code as ``python -c CODE`` would.

    Parameters
    ----------
    code : str
    *argv : str, bytes or path
    stdin, stdout, stderr : file, optional
        Nothing by default.
    **how
        ``env``, ``cwd`` and ``session``, see ``Forked``.

    Returns
    -------
    Forked, or subprocess.Popen where there is no server
    """
    with open(os.devnull, "r+b") as nothing:
        files = [nothing if file is None else file for file in (stdin, stdout, stderr)]
        if address := os.environ.get(ADDRESS):
            return Forked(address, code, argv, [file.fileno() for file in files], **how)
        stdin, stdout, stderr = files
        return subprocess.Popen(
            [sys.executable, "-c", code, *(w if isinstance(w, bytes) else str(w) for w in argv)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=how.get("env"),
            cwd=how.get("cwd"),
            start_new_session=how.get("session", False),
            preexec_fn=_heed,
        )


def start_reading(code, *argv, **how):
    """Start code as ``start`` does; return it and a text file of what it prints."""
    reader, writer = os.pipe()
    with open(writer, "wb") as printed:
        return start(code, *argv, stdout=printed, **how), open(reader, encoding="utf-8")


def _heed():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background ignores it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # one below nohup this


def run(code, *argv, timeout_s=600.0, text=False, **how):
    """Run Python code as ``python -c CODE`` would; return what it printed and its exit code."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        files = {"stdout": out, "stderr": err}
        process = start(code, *argv, **(files | how))
        try:
            process.wait(timeout=timeout_s)
        except BaseException:
            process.kill()
            process.wait()
            raise
        printed = []
        for file in (out, err):
            file.seek(0)
            data = file.read()
            printed.append(data.decode() if text else data)
    return subprocess.CompletedProcess([code, *argv], process.returncode, *printed)


def shell(code):
    """Return the beginning of a shell's command that runs the code, with arguments after it."""
    if address := os.environ.get(ADDRESS):
        return shlex.join([sys.executable, "-I", "-S", os.path.abspath(__file__), address, code])
    return shlex.join([sys.executable, "-c", code])


class ForkServer:
    """The server; it ends with this process.

    Attributes
    ----------
    address : str
    """

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="forks-")
        self.address = os.path.join(self._folder.name, "s")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.path.dirname(os.path.dirname(HERE))
        self._process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "fork_server.py"), self.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=self._folder.name,
        )
        if self._process.stdout.readline() != b"ready\n":
            raise RuntimeError("the process that runs programs does not start")

    def close(self):
        """End it."""
        self._process.communicate()
        self._folder.cleanup()


if __name__ == "__main__":
    code = Forked(sys.argv[1], sys.argv[2], sys.argv[3:], (0, 1, 2)).wait()
    sys.exit(128 - code if code < 0 else code)
