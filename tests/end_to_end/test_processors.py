"""The same result on every processor: verdicts are equal, scores to four digits.

Instruction sets can be limited only before a process starts, so each run is a process of its own.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import forks
import numpy as np
import pytest
from tunes import tune

from auditor.audio.encode import write_audio

AVX2_ONLY = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
"""What an x86-64 processor without AVX-512 leaves of torch, oneDNN, OpenBLAS and numpy."""

SCORE_TOLERANCE = 1e-4
TIME_TOLERANCE_S = 0.01

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="limits the instruction sets of x86-64"
)


TRAINED = """
import sys
import torch
from auditor.embedding.network import has_bfloat16_training, mixed_precision
with mixed_precision("bfloat16"):
    states, _ = torch.nn.LSTM(8, 8)(torch.randn(4, 2, 8))
print(has_bfloat16_training(), states.dtype, flush=True)
"""

CUT_ANYWHERE = """
import numpy as np
from auditor.embedding.config import PAPER, SPECTRUM, WIDE_RETUNINGS, FeatureConfig
from auditor.embedding.frames import LogBands, stream_frames
noise = (0.1 * np.random.default_rng(0).standard_normal(40_000)).astype(np.float32)
retuned = [c.retuned(r) for c in (FeatureConfig(), SPECTRUM) for r in WIDE_RETUNINGS]
for config in (FeatureConfig(), SPECTRUM, PAPER.features, *retuned):
    bands = LogBands(config)
    for size in (700, 1_861, 9_973):
        blocks = np.split(noise, range(size, len(noise), size))
        streamed = np.concatenate(list(stream_frames(blocks, bands)))
        assert np.array_equal(streamed, bands(noise)), (config, size)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with music, of which one track is there three times."""
    folder = tmp_path_factory.mktemp("processors")
    noise = np.random.default_rng(0).normal(0.0, 0.05, 16_000 * 20).astype(np.float32)
    first = tune(1, duration_s=20.0)
    for name, waveform in {
        "a.wav": first,
        "b.wav": first * 0.7 + noise,
        "c.wav": np.concatenate([tune(2, duration_s=8.0), first[: 16_000 * 12]]),
        "d.wav": tune(3, duration_s=20.0),
        "e.wav": tune(4, duration_s=20.0),
    }.items():
        (folder / "music").mkdir(exist_ok=True)
        write_audio(folder / "music" / name, waveform.astype(np.float32), codec="wav")
    return folder


def scan_into(name: str) -> list[str]:
    options = ["--workspace", name, "--jobs", "1", "--quiet", "--no-audio", "-o", f"{name}.html"]
    return ["scan", "music", *options]


@pytest.fixture(scope="module")
def limited(folder) -> str:
    """Train and scan with instruction sets limited; return what the training said."""
    run = subprocess.run(
        [sys.executable, "-c", TRAINED + forks.AUDIT, *scan_into("avx2")],
        cwd=folder,
        # numpy may lack those that are named
        env={**os.environ, **AVX2_ONLY, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1, run.stderr
    return run.stdout.splitlines()[0]


def test_training_falls_back_to_float32_without_a_bfloat16_lstm(limited):
    assert limited == "False torch.float32"


def test_a_scan_finds_the_same_on_a_processor_without_avx_512(folder, limited):
    run = forks.run(forks.AUDIT, *scan_into("full"), cwd=folder)
    assert run.returncode == 1, run.stderr
    full, avx2 = (json.loads((folder / f"{name}.json").read_text()) for name in ("full", "avx2"))
    assert full["pairs"] and any(pair["flagged"] for pair in full["pairs"])
    for one, other in zip(full["pairs"], avx2["pairs"], strict=True):
        assert [one[key] for key in ("a", "b", "verdict", "flagged")] == [
            other[key] for key in ("a", "b", "verdict", "flagged")
        ]
        assert one["score"] == pytest.approx(other["score"], abs=SCORE_TOLERANCE)
        for left, right in zip(one["evidence"]["ranges"], other["evidence"]["ranges"], strict=True):
            for key in ("a_start_s", "a_end_s", "b_start_s", "b_end_s"):
                assert left[key] == pytest.approx(right[key], abs=TIME_TOLERANCE_S)


@pytest.mark.parametrize("core", ["Haswell", "Prescott"])  # a row depends on its place
def test_frames_do_not_depend_on_cuts_without_avx_512(core):
    env = {**os.environ, **AVX2_ONLY, "OPENBLAS_CORETYPE": core, "PYTHONWARNINGS": "ignore"}
    run = subprocess.run([sys.executable, "-c", CUT_ANYWHERE], env=env, capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
