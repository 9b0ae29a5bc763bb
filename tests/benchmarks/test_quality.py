"""Tests of the quality benchmark's command and of the report it writes."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import quality
from copies import ORIGINAL, Job, copy_name, corpus_paths, make_copies
from evaluation import Scores, evaluate

KINDS = ("eq", "mix")


def make_evaluation(n: int = 160, *, missed: int = 0, threshold: float | None = None):
    """Return an evaluation in which the first copies of ``eq`` are missed."""
    copies = {kind: np.where(np.eye(n) > 0, 0.9, 0.1) for kind in KINDS}
    copies["eq"][np.arange(missed), np.arange(missed)] = 0.0
    scores = Scores(copies["mix"].copy(), copies, {kind: np.arange(n) for kind in KINDS})
    names = [f"{i}.ogg" for i in range(n)]
    return evaluate(names, np.arange(n), scores, threshold=threshold, n_draws=20)


def cells(lines: list[str], first: str) -> list[str]:
    """Return the cells of the only table row that begins with the given text."""
    (row,) = (line for line in lines if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in row.strip("| ").split("|")]


def test_systems_stand_side_by_side():
    lines = quality.render_side_by_side({"ours": make_evaluation(), "b": make_evaluation(missed=4)})
    assert cells(lines, "alteration") == ["alteration", "copies", "ours", "b"]
    row = cells(lines, "bass +10 dB, treble -10 dB")
    assert row == ["bass +10 dB, treble -10 dB", "160", "1.000 / 1.000 / –", "0.975 / 0.975 / –"]
    assert cells(lines, "**mean**")[2:] == ["**1.000 / 1.000 / –**", "**0.988 / 0.988 / –**"]
    assert cells(lines, "its 95 % at 0.0001")[2] == "1.000–1.000"
    assert "FAR 1e-05 is not counted: it takes 100,000 impostor pairs, 63,440 there are." in lines


def test_targets_are_met_or_short():
    lines = quality.render_targets({"ours": make_evaluation(), "b": make_evaluation(missed=4)})
    light = [line for line in lines if line.startswith("| light | 0.0001 | 0.995 |")]
    assert light == [
        "| light | 0.0001 | 0.995 | met: 1.000, lowest 1.000 (eq) "
        "| short: 0.975, lowest 0.975 (eq) |"
    ]
    assert "| planted | 1e-05 | 0.800 | not measured | not measured |" in lines


def test_rows_below_a_peer_are_named():
    ours, peer = make_evaluation(missed=4), make_evaluation(missed=2)
    found = quality.find_below(ours, {"peer": peer})
    assert [(kind, far, name) for kind, far, name, _, _ in found] == [("eq", 1e-4, "peer")]
    assert "| eq | 0.0001 | peer | 0.988 | 0.975 |" in quality.render_below(
        "both", ours, {"peer": peer}
    )
    assert "None." in quality.render_below("both", peer, {"peer": ours})


def test_figures_of_panako_are_held_against_ours():
    assert set(quality.PANAKO) <= set(quality.ALTERATIONS)
    n = 160
    copies = np.where(np.eye(n) > 0, 0.9, 0.1)
    copies[:40, :40] = 0.1
    scores = Scores(np.full((n, n), 0.1), {"noise0": copies}, {"noise0": np.arange(n)})
    ours = evaluate([f"{i}" for i in range(n)], np.arange(n), scores, n_draws=0)
    found = quality.find_below(ours, {})
    assert found == [("noise0", 1e-4, "Panako (other files)", 0.82, 0.75)]


def test_the_report_of_a_system_has_its_figures_and_pairs():
    lines = quality.render_system("ours", make_evaluation(missed=4, threshold=0.95))
    row = cells(lines, "bass +10 dB, treble -10 dB")
    assert row[1:5] == ["160", "0.975 (0.937–0.990)", "0.975", "0.975"]
    assert row[-1] == "0 = 0.000 (0.000–0.023)"
    assert any(
        line.startswith("Shipped threshold 0.9500: 0 false pairs of 12,720") for line in lines
    )
    assert "- 0.1000 0.ogg | 1.ogg: not flagged" in lines
    assert "None.\n" in lines  # no natural duplicates
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert len(widths) == 1


@pytest.fixture
def music(tmp_path, write_tune, monkeypatch):
    """Return a corpus of four tracks with copies of them, beside the folder that tests run in."""
    for i in range(4):
        write_tune(f"corpus/test/{'ab'[i % 2]}/{i}.wav", i)
    for i in range(2):
        write_tune(f"corpus/train/{i}.wav", 10 + i)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs/copies/test-90s"
    for kind in (ORIGINAL, *KINDS):
        (folder / kind).mkdir(parents=True)
    paths = corpus_paths(tmp_path / "corpus", "test")
    for i, path in enumerate(paths):
        make_copies(Job(path, paths[(i + 2) % 4], copy_name(i), KINDS, 90.0, folder))
    return tmp_path


def run(monkeypatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["quality.py", "corpus", "--jobs", "1", *options])
    return quality.main()


def test_a_run_writes_report_figures_scores_and_pictures(music, tiny_weights, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    options = ("--systems", "recipe,ours", "--extractors", str(tiny_weights))
    norm = ("--cohort", "2", "--top", "2")
    assert run(monkeypatch, *options, *norm, "--alteration", "eq", "--alteration", "mix") == 0
    printed = capsys.readouterr()
    out = music / "runs/quality/test"
    ours = ["embeddings", "aligned", "both", "embeddings-norm", "aligned-norm", "both-norm"]
    assert {path.name for path in out.iterdir()} == {
        "report.md",
        "report.json",
        "det.png",
        *(f"{name}.npz" for name in ours),
        *(f"scores-{name}.png" for name in ours),
    }
    report = (out / "report.md").read_text()
    assert printed.out == report + "\n"
    assert "recipe is skipped: no weights" in report
    assert "recipe is skipped: no weights" in printed.err
    content = json.loads((out / "report.json").read_text())
    assert list(content["systems"]) == list(content["targets"]) == ours
    assert content["tracks"] == ["a/0.wav", "a/2.wav", "b/1.wav", "b/3.wav"]
    rows = content["systems"]["both"]["rows"]
    assert [(row["alteration"], row["n"]) for row in rows] == [("eq", 4), ("mix", 4)]
    kept = Scores.load(out / "both.npz")
    assert kept.copies["eq"].shape == (4, 4)


def test_if_no_system_can_run_the_command_fails(music, monkeypatch, capsys):
    assert run(monkeypatch, "--systems", "recipe", "--alteration", "eq") == 1
    assert "recipe is skipped" in capsys.readouterr().err


@pytest.mark.parametrize("options", [("--systems", "ours,shazam"), ("--every", "0")])
def test_options_that_make_no_sense_are_refused(options, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *options)
    assert ended.value.code == 2
    assert "systems are ours, chromaprint, audfprint, recipe, mfcc" in capsys.readouterr().err
