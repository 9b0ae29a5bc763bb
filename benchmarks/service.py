"""What the service takes: start to ready, seconds to a verdict, files an hour, memory.

Load is made by locust on loop-back (``service_locust.py``), with files of four minutes, 44.1 kHz
stereo mp3 of 192 kbit/s, made of real music.  Seconds to a verdict are those between the last byte
of an upload and the stored verdict (the log's ``checked``); locust's own, with upload and answer,
stand beside them.  Processor seconds are those of all processes of the service, or of the command:
on a machine with other work, these alone can be compared.

Examples
--------
::

    python benchmarks/excerpt_pass.py corpus/train --tracks 10000 --stretches 8 --asking 20 \\
        --output runs/excerpt-pass-240s
    python benchmarks/service.py latency runs/excerpt-pass-240s/10000 corpus/val --users 1 2 4
    python benchmarks/service.py batch runs/excerpt-pass-240s/10000 corpus/val
    python benchmarks/service.py soak runs/excerpt-pass-240s/10000 corpus/val --jobs 5000
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np

from auditor.serve.client import Client

ROOT = Path(__file__).parents[1]
LENGTH_S, RATE_HZ = 240.0, 44_100
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def four_minutes(source: Path, target: Path) -> bool:
    """Write the first four minutes of a file as stereo mp3; say whether it is as long."""
    with av.open(str(source)) as found:
        stream = found.streams.audio[0]
        if (found.duration or 0) / 1e6 < LENGTH_S:
            return False
        resampler = av.AudioResampler(format="s16p", layout="stereo", rate=RATE_HZ)
        with av.open(str(target), "w") as made:
            out = made.add_stream("mp3", rate=RATE_HZ, layout="stereo", bit_rate=192_000)
            n_samples = 0
            for frame in found.decode(stream):
                for part in resampler.resample(frame):
                    if n_samples >= LENGTH_S * RATE_HZ:
                        break
                    n_samples += part.samples
                    part.pts = None
                    made.mux(out.encode(part))
            made.mux(out.encode(None))
    return True


def make_files(music: Path, folder: Path, n: int) -> list[Path]:
    """Return files of four minutes, made of the first files of a folder that are long enough."""
    made: list[Path] = []
    for source in sorted(path for path in music.rglob("*") if path.is_file()):
        target = folder / f"{len(made):02}-{source.stem}.mp3"
        try:
            if len(made) < n and four_minutes(source, target):
                made.append(target)
        except (av.FFmpegError, IndexError):
            target.unlink(missing_ok=True)
    return made


def memory_mb(pid: int) -> float:
    """Return the proportional memory of a process: shared pages are counted by their share."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def children(pid: int) -> list[int]:
    """Return the processes below one, at any depth."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{task}/children").read_text()
            found += [int(word) for word in text.split()]
    except OSError:
        return found
    return found + [below for child in found for below in children(child)]


def own_processor_s(pid: int, *, ended: bool = False) -> float:
    """Return the processor seconds of a process, and of those that it started and that ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11 : 15 if ended else 13])) / os.sysconf("SC_CLK_TCK")


class Service:
    """A service that runs from the beginning of a ``with`` to its end."""

    def __init__(self, workspace: Path, log: Path, *options: str) -> None:
        self.log, self._words = log, ["--workspace", str(workspace), "--port", "0", *options]

    def __enter__(self) -> Service:
        started = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "auditor", "serve", "--rate", "1000000", *self._words],
                stdout=subprocess.PIPE,
                stderr=log,
                env=ENVIRONMENT,
            )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().decode().split()[-1]
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=10) as answer:
                    if answer.status == 200:
                        break
            except OSError:
                time.sleep(0.02)
        self.ready_s = time.monotonic() - started
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def memory_mb(self) -> float:
        pid = self._process.pid
        return sum(memory_mb(one) for one in (pid, *children(pid)))

    @property
    def pid(self) -> int:
        return self._process.pid

    def processor_s(self) -> float:
        return sum(own_processor_s(pid, ended=True) for pid in (self.pid, *children(self.pid)))

    def seconds(self) -> list[float]:
        """Return the seconds to a verdict of all checks so far."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if "{" in line)
        return [line["seconds"] for line in lines if line["event"] == "checked"]


def copy_workspace(workspace: Path, folder: Path) -> Path:
    """Return a workspace of the same catalogue that nobody else uses; large files are linked."""
    target = folder / "ws"
    shutil.copytree(
        workspace,
        target,
        copy_function=os.link,
        ignore=shutil.ignore_patterns("service", "lock", "*-wal", "*-shm"),
    )
    for path in target.glob("catalogue.sqlite3"):
        path.unlink()
        shutil.copyfile(workspace / path.name, path)
    return target


def percentiles(values: list[float]) -> str:
    p50, p95 = np.percentile(values, (50, 95))
    return f"{p50:.2f} | {p95:.2f} | {max(values):.2f}"


def latency(args: argparse.Namespace, workspace: Path, files: Path, folder: Path) -> None:
    print(
        "| workers | callers | checks | p50 s | p95 s | worst s | locust p50 / p95 s | an hour | "
        "processor s a check | processor s from start to ready |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for users in args.users:
        with Service(workspace, folder / f"{users}.log", "--workers", str(args.workers)) as service:
            start_s = service.processor_s()
            Client(service.url).check(sorted(files.iterdir())[0])
            n_before, before_s = len(service.seconds()), service.processor_s()
            subprocess.run(
                [
                    *(sys.executable, "-m", "locust", "--headless", "--only-summary"),
                    *("-f", str(ROOT / "benchmarks/service_locust.py"), "--host", service.url),
                    *("-u", str(users), "-r", str(users), "-t", f"{args.seconds}s"),
                    *("--stop-timeout", "60", "--csv", str(folder / f"users-{users}")),
                ],
                env={**ENVIRONMENT, "SERVICE_FILES": str(files)},
                check=True,
                capture_output=True,
            )
            found = service.seconds()[n_before:]
            each_s = (service.processor_s() - before_s) / max(1, len(found))
            with (folder / f"users-{users}_stats.csv").open() as file:
                row = next(row for row in csv.DictReader(file) if row["Name"] == "Aggregated")
            assert row["Failure Count"] == "0", row
            own = f"{int(row['50%']) / 1000:.2f} / {int(row['95%']) / 1000:.2f}"
            an_hour = 3600 * float(row["Requests/s"])
            print(
                f"| {args.workers} | {users} | {len(found)} | {percentiles(found)} | {own} | "
                f"{an_hour:,.0f} | {each_s:.2f} | {start_s:.1f} |",
                flush=True,
            )
        print(f"start to ready: {service.ready_s:.2f} s", file=sys.stderr)


def batch(args: argparse.Namespace, workspace: Path, files: Path, folder: Path) -> None:
    """Check the same files by the command in a batch and by the service, taking turns."""
    many = folder / "many"
    many.mkdir()
    for n, file in enumerate(sorted(files.iterdir()) * args.times):
        # A few bytes behind the sound: no two files are the same to the command.
        (many / f"{n:03}-{file.name}").write_bytes(file.read_bytes() + b"%03d" % n)
    n_files = len(list(many.iterdir()))
    for _ in range(args.runs):
        started, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [
                *(sys.executable, "-m", "auditor", "check", str(many), "-q", "--no-report"),
                *("--no-compositions", "--exit-zero", "--format", "jsonl"),
                *("--workspace", str(workspace), "--jobs", str(args.workers)),
            ],
            env=ENVIRONMENT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        command_s = time.monotonic() - started
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        command_cpu_s = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        with Service(workspace, folder / "batch.log", "--workers", str(args.workers)) as service:
            client = Client(service.url)
            started = time.monotonic()
            with ThreadPoolExecutor(args.workers + 1) as threads:
                found = list(threads.map(client.check, sorted(many.iterdir())))
            service_s, service_cpu_s = time.monotonic() - started, service.processor_s()
            server_cpu_s = own_processor_s(service.pid)
        assert all(one["state"] == "done" for one in found)
        print(
            f"{n_files} files, {args.workers} workers: audit check {command_s:.1f} s "
            f"({3600 * n_files / command_s:,.0f} an hour), service {service_s:.1f} s "
            f"({3600 * n_files / service_s:,.0f} an hour, {command_s / service_s:.0%}); processor "
            f"seconds, starts included: {command_cpu_s:.1f} and {service_cpu_s:.1f} "
            f"({command_cpu_s / service_cpu_s:.0%}; {server_cpu_s:.1f} of them the server itself)",
            flush=True,
        )


def soak(args: argparse.Namespace, workspace: Path, files: Path, folder: Path) -> None:
    """Send many short files, and print the memory of the service as they are done."""
    short = folder / "short"
    short.mkdir()
    for n, file in enumerate(sorted(files.iterdir())):
        with av.open(str(file)) as found, av.open(str(short / f"{n}.mp3"), "w") as made:
            out = made.add_stream_from_template(found.streams.audio[0])
            for packet in found.demux(found.streams.audio[0]):
                if packet.pts is None or packet.pts * packet.time_base > args.clip:
                    break
                packet.stream = out
                made.mux(packet)
    options = ["--workers", str(args.workers), "--keep-results", "1"]
    with Service(workspace, folder / "soak.log", *options) as service:
        client, done, lock = Client(service.url), 0, threading.Lock()
        sources = sorted(short.iterdir())
        rows: list[tuple[int, float]] = []

        def send(n: int) -> None:
            nonlocal done
            found = client.check(sources[n % len(sources)])
            assert found["state"] == "done", found
            with lock:
                done += 1
                if done % max(1, args.jobs // 40) == 0:
                    rows.append((done, service.memory_mb()))
                    print(f"{done:6} jobs  {rows[-1][1]:7.0f} MB", flush=True)

        started = time.monotonic()
        with ThreadPoolExecutor(args.workers + 1) as threads:
            list(threads.map(send, range(args.jobs)))
        sizes = np.array([size for _, size in rows[len(rows) // 8 :]])
        middle = float(np.median(sizes))
        print(
            f"{args.jobs} jobs in {time.monotonic() - started:.0f} s; after the first eighth "
            f"{sizes.min():.0f} to {sizes.max():.0f} MB, median {middle:.0f} MB "
            f"({sizes.min() / middle - 1:+.1%} to {sizes.max() / middle - 1:+.1%})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in (("latency", latency), ("batch", batch), ("soak", soak)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("workspace", type=Path)
        command.add_argument("music", type=Path)
        command.add_argument("--workers", type=int, default=2)
        command.add_argument("--files", type=int, default=12)
        if name == "latency":
            command.add_argument("--users", type=int, nargs="+", default=[1, 2, 4])
            command.add_argument("--seconds", type=int, default=90)
        elif name == "batch":
            command.add_argument("--times", type=int, default=3)
            command.add_argument("--runs", type=int, default=3)
        else:
            command.add_argument("--jobs", type=int, default=5000)
            command.add_argument("--clip", type=float, default=10.0, help="seconds of each file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = folder / "files"
        files.mkdir()
        made = make_files(args.music, files, args.files)
        print(f"{len(made)} files of four minutes", file=sys.stderr)
        args.function(args, copy_workspace(args.workspace, folder), files, folder)


if __name__ == "__main__":
    main()
