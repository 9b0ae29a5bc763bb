"""What the zygote runs beside the command line: an ingest that measures each file."""

from __future__ import annotations

import json
import os
from pathlib import Path

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def processor_s() -> float:
    """Return processor seconds of this process, its living children and those that it reaped."""
    from fault_zygote import members

    total = 0
    for pid in members(os.getsid(0)):
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b") ")[2].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])
    return total * TICK_S


def ingest_measured(folder: str, workspace: str, weights: str, answer: str) -> None:
    """Ingest a folder; write what became of each file, and the processor time that it took."""
    from auditor.ingest.session import ingest
    from auditor.workspace import open_workspace

    files: dict[str, list] = {}
    before_s, heard_before_s = processor_s(), 0.0

    def on_event(event) -> None:
        nonlocal before_s, heard_before_s
        now_s = processor_s()
        spent_s, heard_s = now_s - before_s, event.audio_s - heard_before_s
        files[os.path.basename(event.path)] = [event.outcome, spent_s, heard_s]
        before_s, heard_before_s = now_s, event.audio_s

    with open_workspace(workspace, extractor=weights, write=True) as opened:
        ingested = ingest(opened, [folder], on_event=on_event)
    skipped = {os.path.basename(one.path): [one.reason, one.code] for one in ingested.skipped}
    Path(answer).write_text(json.dumps({"files": files, "skipped": skipped}))


def write_two(folder: str) -> None:
    """Write two files in four operations: open and write, twice."""
    for name in ("one", "two"):
        fd = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"0123456789")
        os.close(fd)
