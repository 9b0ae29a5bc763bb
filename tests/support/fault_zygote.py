"""A process that has imported everything, and forks a child for each command of a campaign.

Run by ``faults.Zygote`` with the fault layer preloaded.  Requests and answers are lines of JSON.  A
command costs its own work only, and the answer holds what the kernel says of it: how it ended, the
largest memory of any of its processes, and what it left behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import sys
import time
import tomllib
import traceback

from fork_server import import_all, leave

with open(os.path.join(os.path.dirname(__file__), "../../pyproject.toml"), "rb") as file:
    COMMAND = tomllib.load(file)["project"]["scripts"]["audit"]
"""What the console script calls."""

PAGE = os.sysconf("SC_PAGE_SIZE")


class Child:
    """A forked command."""

    def __init__(self, job: dict, layer: ctypes.CDLL | None) -> None:
        self.job, self.started = job, time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            become(job, layer)
        self.fd = os.pidfd_open(self.pid)
        self.actions = sorted(job.get("actions", []))
        self.answer: dict | None = None
        self.timed_out = False

    def act(self) -> None:
        """Send the signals whose time has come."""
        passed_s = time.monotonic() - self.started
        if not self.timed_out and passed_s > self.job.get("timeout_s", 120.0):
            self.timed_out = True
            signal_group(self.pid, signal.SIGKILL)
        while self.actions and self.actions[0][0] <= passed_s:
            _, target, number = self.actions[0]
            if target == "group":
                signal_group(self.pid, number)
            elif target == "self":
                signal_one(self.pid, number)
            else:
                found = [p for p in members(self.pid) if b"decoder_process" in command_of(p)]
                if not found:
                    return  # not yet
                for pid in found:
                    signal_one(pid, number)
            self.actions.pop(0)

    def end(self) -> dict:
        """Reap it; return what is known of it."""
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self.fd)
        seconds = time.monotonic() - self.started
        left = members(self.pid)
        deadline = time.monotonic() + 5.0
        while left and time.monotonic() < deadline:
            time.sleep(0.01)
            left = members(self.pid)
        names = [command_of(pid).decode("utf-8", "replace")[:80] for pid in left]
        for pid in left:
            signal_one(pid, signal.SIGKILL)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "timed_out": self.timed_out,
            "peak_bytes": usage.ru_maxrss << 10,
            "seconds": seconds,
            "processor_s": usage.ru_utime + usage.ru_stime,
            "left": names,
        }


def signal_one(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def members(session: int) -> list[int]:
    """Return the processes of a session that are still alive."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
            if int(fields[3]) == session and fields[0] not in (b"Z", b"X"):
                found.append(int(name))
    return found


def command_of(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ")
    except OSError:
        return b""


def become(job: dict, layer: ctypes.CDLL | None) -> None:
    """In the child: run the command as a fresh process would; does not return."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for fd, name in ((1, job["stdout"]), (2, job["stderr"])):
        target = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(target, fd)
        os.close(target)
    os.chdir(job["cwd"])
    os.environ.update(job.get("env", {}))
    if "memory_bytes" in job:
        import resource

        with open("/proc/self/statm", "rb") as file:
            limit = int(file.read().split()[0]) * PAGE + job["memory_bytes"]
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.argv = ["audit", *job["argv"]]
    code: object = 0
    try:
        if layer is not None and job.get("arm"):
            root, mode, at = job["arm"]
            layer.fault_arm(os.fsencode(root), mode, at)
        module, _, name = job.get("call", COMMAND).partition(":")
        function = getattr(importlib.import_module(module), name)
        function(*(job["argv"] if "call" in job else ()))
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 1
    leave(code)


def load_layer(path: str) -> ctypes.CDLL | None:
    if not path:
        return None
    layer = ctypes.CDLL(path)
    layer.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long]
    layer.fault_count.restype = layer.fault_fired.restype = ctypes.c_long
    layer.fault_what.restype = ctypes.c_char_p
    return layer


def run(jobs: list[dict], layer: ctypes.CDLL | None) -> list[dict]:
    """Run the jobs of a request at once; return how each ended."""
    if layer is not None:
        layer.fault_reset()
    children = [Child(job, layer) for job in jobs]
    waiting = {child.fd: child for child in children}
    poll = select.poll()
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    while waiting:
        busy = any(child.actions for child in waiting.values())
        for fd, _ in poll.poll(2 if busy else 200):
            poll.unregister(fd)
            child = waiting.pop(fd)
            child.answer = child.end()
        for child in waiting.values():
            child.act()
    answers = [child.answer or {} for child in children]
    for answer in answers:
        answer["n_operations"] = layer.fault_count() if layer else 0
        answer["n_fired"] = layer.fault_fired() if layer else 0
        answer["what"] = layer.fault_what().decode("utf-8", "replace") if layer else ""
    return answers


def main() -> None:
    layer = load_layer(sys.argv[1])
    import_all()
    answers = os.fdopen(os.dup(1), "w")
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(run(json.loads(line), layer)), file=answers, flush=True)


if __name__ == "__main__":
    main()
