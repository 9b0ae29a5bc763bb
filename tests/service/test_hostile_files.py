"""Oversized, inflating and mutated files: a service answers each, and no process grows or dies."""

from __future__ import annotations

import re

import pytest
from fault_audio import (
    MIB,
    encode_as,
    fast_wav,
    inflating_title,
    junk,
    large_comment,
    large_cover,
    large_title,
    long_mp3,
    long_silence,
    many_tracks,
    mutate,
    whole_files,
)
from faults import seeded
from service_process import Sampler, ServiceProcess
from tunes import tune

from auditor.errors import SKIP_CODES

pytestmark = pytest.mark.service

N_MUTATED = 60
GROWTH_MB = 700.0
"""What a process may take while it is at such a file, beyond what it takes at rest."""


def encoded(suffix):
    return encode_as(suffix, tune(1, duration_s=3.0))


OVERSIZED = {
    "title that inflates to 1 GiB.mp3": lambda path: inflating_title(path, encoded(".mp3")),
    "title of 200 MB.mp3": lambda path: large_title(path, encoded(".mp3")),
    "cover of 200 MB.mp3": lambda path: large_cover(path, encoded(".mp3")),
    "comments and covers of 360 MB.flac": lambda path: large_comment(path, encoded(".flac")),
    "1,000 tracks.mp4": many_tracks,
    "an hour.mp3": lambda path: long_mp3(path, 1.0),
    "4 silent hours.flac": lambda path: long_silence(path, 4.0),
    "192 kHz.wav": lambda path: fast_wav(path, 10.0),
    "noise of 64 MB.mp3": lambda path: junk(path, 64 * MIB),
}


def deaths(service):
    text = service.client()._request("GET", "/metrics")[1].decode()
    return float(re.search(r"^audit_worker_deaths_total (\S+)$", text, re.MULTILINE)[1])


def is_answered(check):
    if check["state"] == "done":
        return check["severity"] in ("block", "warn", "pass")
    return check["problem"]["code"] in SKIP_CODES


def test_oversized_files_are_answered_in_bounded_memory(workspace, tunes_of, tmp_path):
    folder, weights = workspace
    with ServiceProcess(folder, weights, "--workers", "1") as service:
        client = service.client()
        assert client.check(tunes_of(1, "copy.mp3"))["severity"] == "block"
        with Sampler(service, 0.1) as sampler:
            rest = service.memory_mb()
            said = {}
            for name, write in OVERSIZED.items():
                path = tmp_path / name
                write(path)
                found = client.check(path)
                path.unlink()
                assert is_answered(found), (name, found["problem"])
                said[name] = found["severity"] or found["problem"]["code"]
                client.media(found["id"])
        peaks = [
            max(own for _, own, _ in sampler.rows),
            max(max(workers) for _, _, workers in sampler.rows if workers),
        ]
        print(said, f"at rest {rest}, peaks {peaks} MB")
        assert said["title that inflates to 1 GiB.mp3"] == said["cover of 200 MB.mp3"] == "block"
        assert max(peaks) < max(rest) + GROWTH_MB
        assert deaths(service) == 0
        assert client.check(tunes_of(1, "copy.mp3"))["severity"] == "block"
        assert service.stop() == 0


def test_mutated_files_are_answered(workspace, tunes_of, tmp_path):
    folder, weights = workspace
    chance = seeded("service")
    whole = whole_files()
    with ServiceProcess(folder, weights, "--workers", "2") as service:
        client = service.client()
        for n in range(N_MUTATED):
            suffix = chance.choice(sorted(whole))
            path = tmp_path / f"{n}{suffix}"
            path.write_bytes(mutate(whole[suffix], chance, tuple(whole.values())) or b"\0")
            found = client.check(path)
            assert is_answered(found), (path, found["problem"])
        assert deaths(service) == 0
        assert "Traceback" not in service.log.read_text()
        assert client.check(tunes_of(1, "copy.mp3"))["severity"] == "block"
        assert service.stop() == 0
