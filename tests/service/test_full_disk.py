"""A disk that is full for real: what is accepted is not lost, and the rest is refused."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

import pytest
from small_service import RunningService, track_rows

from auditor.serve.settings import Settings

pytestmark = pytest.mark.service


@pytest.fixture
def small_disk(tmp_path):
    """Return the folder of a disk of 32 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def filled(disk):
    """Leave no byte of a disk free."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        filler.unlink()


def test_a_full_disk_loses_nothing_and_is_said(made, small_disk, tunes_of, tmp_path):
    shutil.copytree(made[0] / "ws", small_disk / "ws")
    settings = Settings(
        small_disk / "ws",
        extractor=str(made[1]),
        min_free_bytes=0,
        roots=(os.fsencode(os.path.realpath(tunes_of(1, "copy.mp3").parent)),),
    )
    before = track_rows(settings.workspace)
    with RunningService(settings) as running:
        copy = running.post_file(tunes_of(1, "copy.mp3")).json
        pair = copy["reasons"][0]["pair_id"]
        assert copy["severity"] == "block"
        taken = [
            running.post_file(tunes_of(700 + n), wait=0, add="true", external_id=str(n)).json
            for n in range(4)
        ]
        with filled(small_disk):
            with pytest.raises(OSError, match="No space left"):
                (small_disk / "probe").write_bytes(b"x")
            uploads = set(os.listdir(settings.uploads))
            for seed in range(4):
                answer = running.post_file(tunes_of(710 + seed), wait=0)
                assert (answer.status, answer.json["code"]) == (507, "disk-full")
                assert answer.json["retryable"] and answer.headers["Retry-After"]
            assert set(os.listdir(settings.uploads)) <= uploads
            named = running.send_json("POST", "/v1/checks", {"path": str(tunes_of(720))})
            assert named.status in (202, 507), named.body  # the log of SQLite may have room
            if named.status == 202:
                taken.append(named.json)
            decided = running.send_json("POST", f"/v1/pairs/{pair}/decision", {"kind": "confirmed"})
            assert decided.status in (201, 503, 507), decided.body
            assert running.get("/healthz").status == 200
            assert running.get(f"/v1/checks/{copy['id']}").json["severity"] == "block"
            assert running.get("/inbox").status == 200
        ended = [running.get(f"/v1/checks/{one['id']}?wait=60").json for one in taken]
        assert {(one["state"], one["severity"]) for one in ended} == {("done", "pass")}
        added = sorted(one["track_id"] for one in ended if one["track_id"])
        new = [row for row in track_rows(settings.workspace) if row not in before]
        assert added == sorted(row[0] for row in new) and len(added) == 4
        assert running.post_file(tunes_of(710)).json["severity"] == "pass"
        decided = running.send_json("POST", f"/v1/pairs/{pair}/decision", {"kind": "confirmed"})
        assert decided.status == 201
        assert running.get("/readyz").status == 200
