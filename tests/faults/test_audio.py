"""Mutated audio files: each is embedded, or named with its reason, within its memory and time."""

from __future__ import annotations

import json

import pytest
from fault_audio import WRITERS, mutate, whole_files
from faults import MEMORY_BYTES, SIZES, Job, amount, seeded

from auditor.audio.formats import SUFFIXES
from auditor.errors import SKIP_CODES

BATCH = 250
WHOLE = "whole"
START_S, SHARE = 10.0, 0.2
"""Processor seconds that a file may take: so many, and so many for each second of its sound."""

IN_THE_CATALOGUE = ("embedded", "identical")
"""A mutation may leave a file as it was; the intact one is then its copy."""


@pytest.mark.parametrize("size", SIZES)
def test_mutated_audio(size, zygote, inputs, tally, tmp_path):
    assert set(WRITERS) <= SUFFIXES
    n_files = amount(size, 10, 2000, 10_000)
    whole = whole_files()
    heads = tuple(whole.values())
    suffixes = sorted(whole)
    with tally(f"mutated audio, {len(suffixes)} containers") as found:
        for first in range(0, n_files, BATCH):
            folder = tmp_path / f"music{first}"
            folder.mkdir()
            for suffix in suffixes if first == 0 else ():
                (folder / f"{WHOLE}{suffix}").write_bytes(whole[suffix])
            for i in range(first, min(first + BATCH, n_files)):
                suffix = suffixes[i % len(suffixes)]
                data = mutate(whole[suffix], seeded("audio", i), heads)
                (folder / f"{i:05}{suffix}").write_bytes(data)
            ingest(zygote, inputs, folder, tmp_path, found)


def ingest(zygote, inputs, folder, tmp_path, found) -> None:
    """Count what becomes of the files of a folder; where the run fails, find the culprit."""
    names = sorted(path.name for path in folder.iterdir())
    answer = tmp_path / "answer.json"
    answer.unlink(missing_ok=True)
    arguments = (folder, f"{folder}-ws", inputs.weights, answer)
    (end,) = zygote.run(Job(arguments, call="fault_drivers:ingest_measured", timeout_s=1800.0))
    wrong = end.fault(codes=[0])
    if not wrong and end.peak_bytes > MEMORY_BYTES:
        wrong = f"a process took {end.peak_bytes >> 20} MB"
    if wrong and len(names) == 1:
        found.case(names[0], wrong)
        return
    if wrong:
        for part, half in enumerate((names[::2], names[1::2])):
            below = folder / f"{part}"
            below.mkdir()
            for name in half:
                (folder / name).rename(below / name)
            ingest(zygote, inputs, below, tmp_path, found)
        return
    told = json.loads(answer.read_text())
    for name in names:
        wrong = fault_of(told["files"].get(name), told["skipped"].get(name))
        outcome = told["files"].get(name, [""])[0]
        if not wrong and name.startswith(WHOLE) and outcome not in IN_THE_CATALOGUE:
            wrong = f"is intact and was not embedded: {told['files'][name]}"
        found.case(name, wrong)


def fault_of(dealt: list | None, skipped: list | None) -> str:
    """Return what is wrong with how a file was dealt with, empty if nothing is."""
    if dealt is None:
        return "passed over without a word"
    outcome, processor_s, heard_s = dealt
    if processor_s > START_S + SHARE * heard_s:
        return f"took {processor_s:.1f} s for {heard_s:.1f} s of sound ({outcome})"
    if outcome != "skipped":
        return ""
    if skipped is None or not skipped[0]:
        return "skipped without a reason"
    reason, code = skipped
    if code not in SKIP_CODES:
        return f"skipped with the unknown code {code!r}"
    if len(reason) > 500 or not reason.isprintable():
        return f"skipped with an unprintable reason: {reason[:100]!r}"
    return ""
