"""``beet audit`` with a real beets; runs where the extra ``beets`` is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_audit import write_tune

pytest.importorskip("beets", reason="the extra beets is not installed")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def beet(tmp_path_factory):
    """Return a function that runs ``beet`` on a library with a piece, its copy and another one."""
    folder = tmp_path_factory.mktemp("beets")
    for name, seed in (("one.wav", 1), ("one again.mp3", 1), ("other.flac", 2)):
        write_tune(folder / "music" / name, seed, duration_s=12.0)
    (folder / "config.yaml").write_text(
        f"directory: {folder}/music\nlibrary: {folder}/library.db\nplugins: audit\n"
        "import: {copy: no, write: no, autotag: no, quiet: yes}\nformat_item: $path\n"
        "audit: {options: --no-compositions --threshold 0.5 --quiet}\n",
        encoding="utf-8",
    )
    environment = os.environ | {
        "BEETSDIR": str(folder),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "NO_COLOR": "1",
    }

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "beets", *words]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, cwd=folder
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("import", f"{folder}/music")
    return run


def names(text: str) -> list[str]:
    return sorted(line.rsplit("/", 1)[-1] for line in text.splitlines())


def test_items_get_verdict_and_group_and_lose_them_again(beet, tmp_path_factory):
    said = beet("audit")
    assert names(said) == ["one again.mp3", "one.wav"]
    assert all(line.startswith("C1  ") for line in said.splitlines())
    assert names(beet("ls", "audit_group:C1")) == ["one again.mp3", "one.wav"]
    assert names(beet("ls", "audit_verdict:recording")) == ["one again.mp3", "one.wav"]
    assert names(beet("audit", "other")) == []
    (again,) = (line for line in beet("ls").splitlines() if line.endswith("again.mp3"))
    Path(again).unlink()
    beet("update")
    assert beet("audit") == ""
    assert beet("ls", "audit_group:C1") == ""
