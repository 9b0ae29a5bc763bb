"""The same result on every processor: verdicts are equal, scores to four digits.

Instruction sets can be limited only before a process starts, so each run is a process of its own.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

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


def run_limited(code: list[str], cwd, limits: dict[str, str]) -> str:
    """Run Python with instruction sets limited; numpy may lack those that are named."""
    environment = {**os.environ, **limits, "PYTHONWARNINGS": "ignore"}
    run = subprocess.run(
        [sys.executable, *code], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert run.returncode in (0, 1), run.stderr
    return run.stdout


def test_training_falls_back_to_float32_without_a_bfloat16_lstm(tmp_path):
    code = (
        "import torch\n"
        "from auditor.embedding.extractor import has_bfloat16_training, mixed_precision\n"
        "with mixed_precision('bfloat16'):\n"
        "    states, _ = torch.nn.LSTM(8, 8)(torch.randn(4, 2, 8))\n"
        "print(has_bfloat16_training(), states.dtype)\n"
    )
    assert run_limited(["-c", code], tmp_path, AVX2_ONLY) == "False torch.float32\n"


def test_a_scan_finds_the_same_on_a_processor_without_avx_512(tmp_path, make_tune):
    noise = np.random.default_rng(0).normal(0.0, 0.05, 16_000 * 20).astype(np.float32)
    first = make_tune(1, duration_s=20.0)
    for name, waveform in {
        "a.wav": first,
        "b.wav": first * 0.7 + noise,
        "c.wav": np.concatenate([make_tune(2, duration_s=8.0), first[: 16_000 * 12]]),
        "d.wav": make_tune(3, duration_s=20.0),
        "e.wav": make_tune(4, duration_s=20.0),
    }.items():
        (tmp_path / "music").mkdir(exist_ok=True)
        write_audio(tmp_path / "music" / name, waveform.astype(np.float32), codec="wav")
    results = []
    for name, limits in (("full", {}), ("avx2", AVX2_ONLY)):
        out = tmp_path / f"{name}.html"
        options = ["--workspace", name, "--jobs", "1", "--quiet", "--no-audio", "-o", str(out)]
        run_limited(["-m", "auditor.cli", "scan", "music", *options], tmp_path, limits)
        results.append(json.loads(out.with_suffix(".json").read_text()))
    full, avx2 = results
    assert full["pairs"] and any(pair["flagged"] for pair in full["pairs"])
    for one, other in zip(full["pairs"], avx2["pairs"], strict=True):
        assert [one[key] for key in ("a", "b", "verdict", "flagged")] == [
            other[key] for key in ("a", "b", "verdict", "flagged")
        ]
        assert one["score"] == pytest.approx(other["score"], abs=SCORE_TOLERANCE)
        for left, right in zip(one["evidence"]["ranges"], other["evidence"]["ranges"], strict=True):
            for key in ("a_start_s", "a_end_s", "b_start_s", "b_end_s"):
                assert left[key] == pytest.approx(right[key], abs=TIME_TOLERANCE_S)
