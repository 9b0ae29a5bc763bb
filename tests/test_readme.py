"""Tests of what README.md and CONTRIBUTING.md say: blocks run, targets, options and links exist.

How a block is tested is said by an HTML comment on the line before it; CONTRIBUTING.md lists them.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import forks
import pytest
import typer
from synthetic_music import synthesise_track

from auditor.audio.decode import write_audio
from auditor.augment.waveform import gain
from auditor.cli import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = (README, ROOT / "CONTRIBUTING.md")
DIRECTIVES = ("", "exact", "recorded", "shown")
NOT_RUN_BEYOND = (
    *("make", "audit", "git", "cd", "source", "export"),
    *("curl", "pip", "pipx", "uv", "docker", "ray"),
)
"""First words that a block which is only shown may have."""

ELLIPSIS = ("…", "...")
NUMBER = r"[-−]?\d(?:[\d.,]*\d)?(?: × 10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?"
FOOTER = (
    r"0 matching pairs? among 0 \w+",
    r"0 of 0 submissions? match(?:es)? a track of the catalogue \(0 tracks?\)",
    r"0 tracks? recommended among 0 \w+",
    r"0 pairs? compared, threshold 0; expected false positives: 0 .*?\)",
    r"exact search; budget: 0 false pairs?",
    r"threshold: .*?;",
    r"false alarm rate 0 .*?\)",
)
"""What the last lines of a result say, numbers masked; recorded output is compared in these."""

PIECE_S = 20.0


@dataclass(frozen=True)
class Block:
    """One fenced block: where it begins, its language, how it is tested, its lines."""

    line: int
    language: str
    directive: str
    lines: tuple[str, ...]

    def commands(self) -> list[tuple[str, list[str]]]:
        """Return each ``$`` line, continuations joined, with the output lines below it."""
        found: list[tuple[str, list[str]]] = []
        for line in self.lines:
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found and found[-1][0].endswith("\\") and not found[-1][1]:
                found[-1] = (found[-1][0][:-1] + line.strip(), [])
            else:
                assert found, f"line {self.line}: {line!r} stands before any command"
                found[-1][1].append(line)
        return found


def read_blocks(document: str) -> list[Block]:
    blocks, inside, above = [], None, ""
    for number, line in enumerate(document.splitlines(), start=1):
        if inside is None and line.startswith("```"):
            directive = re.fullmatch(r"<!-- test: (\w+) -->", above)
            inside = (number, line[3:].strip(), directive[1] if directive else "", [])
        elif inside is not None and line == "```":
            blocks.append(Block(*inside[:3], tuple(inside[3])))
            inside = None
        elif inside is not None:
            inside[3].append(line)
        above = line
    assert inside is None, f"the block of line {inside[0]} has no end"
    return blocks


def normalise(line: str) -> str:
    """Return a line without what differs between two runs: numbers, ids, runs of spaces."""
    line = re.sub(r"\b(?=[a-z2-7]*[2-7])[a-z2-7]{8}(-\d+)?\b", "0", line)
    line = re.sub(r"[-−]?\d[\d.,:]*", "0", line)
    return re.sub(r"[\s─━-]+", " ", line).strip()


def matches(expected: list[str], actual: list[str]) -> bool:
    """Whether the output is what a block shows; a line of ``…`` stands for any lines."""
    groups: list[list[str]] = [[]]
    for line in expected:
        if line.strip() in ELLIPSIS:
            groups.append([])
        elif line.strip():
            groups[-1].append(normalise(line))
    lines = [normalise(line) for line in actual if line.strip()]
    if len(groups) == 1:
        return groups[0] == lines
    first, *middle, last = groups
    if lines[: len(first)] != first:
        return False
    position = len(first)
    for group in middle:
        starts = range(position, len(lines) - len(group) + 1)
        at = next((i for i in starts if lines[i : i + len(group)] == group), None)
        if at is None:
            return False
        position = at + len(group)
    return len(lines) - position >= len(last) and lines[len(lines) - len(last) :] == last


def footer(lines: list[str]) -> list[str]:
    """Return the last lines of a result without its numbers, wherever they were wrapped."""
    text = re.sub(r"\s+", " ", " ".join(lines))
    interval = rf"interval (?:below )?{NUMBER}(?:–(?:below )?{NUMBER})?"
    text = re.sub(interval, "interval 0–0", text)
    text = re.sub(r"[\w-]+-[0-9a-f]{8}\.json", "0.json", text)
    text = re.sub(r"(?<!\w)<?" + NUMBER, "0", text)
    text = re.sub(r"\b(pair|cluster|track|submission)s\b", r"\1", text)
    text = re.sub(" in 0 cluster among", " among", text)
    return [found[0] for pattern in FOOTER if (found := re.search(pattern, text))]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def check_command(command: str) -> str:
    """Return what is wrong with a command that is not run, empty if nothing is."""
    words = shlex.split(command)
    if words[0] not in NOT_RUN_BEYOND:
        return f"{words[0]} is neither audit nor make"
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        unknown = [target for target in targets if target not in make_targets()]
        return f"the Makefile has no {', '.join(unknown)}" if unknown else ""
    if words[0] != "audit":
        return ""
    node, group = typer.main.get_command(app), words[1:]
    while group and group[0] in getattr(node, "commands", {}):
        node, group = node.commands[group[0]], group[1:]
    needs_command = getattr(node, "commands", {}) and not node.invoke_without_command
    if needs_command and group[:1] != ["--version"]:
        return f"audit has no command {' '.join(group[:1])}"
    known = {name for parameter in node.params for name in parameter.opts}
    given = {word.partition("=")[0] for word in group if word.startswith("-")}
    unknown = sorted(given - known - {"--help", "-h"})
    return f"{words[1]} has no option {', '.join(unknown)}" if unknown else ""


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Path:
    """Return the folder that a reader of the README works in, with music to work on."""
    folder = tmp_path_factory.mktemp("reader")
    pieces = [synthesise_track(seed, duration_s=PIECE_S) for seed in range(1, 6)]
    names = ("one.mp3", "two.flac", "three.ogg", "four.mp3", "five.flac")
    for below in ("music", "demo/music"):
        (folder / below).mkdir(parents=True)
        for name, piece in zip(names, pieces, strict=True):
            write_audio(folder / below / name, piece, codec=name.rpartition(".")[2])
    (folder / "demo/planted").mkdir()
    for copy in ("music/one-again.ogg", "demo/planted/untitled-1.ogg"):
        write_audio(folder / copy, gain(pieces[0], -12.0), codec="ogg")
    write_audio(folder / "new.mp3", pieces[1], codec="mp3", bit_rate=32_000)
    return folder


ON_ONE_CORE = "import os; os.sched_getaffinity = lambda _pid: {0}\n"
"""Worker processes would import torch again for each command."""


def run(command: str, folder: Path, bin_folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one command as a shell would, with this package as ``audit``."""
    program = bin_folder / "audit"
    program.write_text(f'#!/bin/sh\nexec {forks.shell(ON_ONE_CORE + forks.AUDIT)} "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }
    environment.pop("AUDIT_WORKSPACE", None)
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_is_of_a_kind_that_is_tested(document):
    for block in read_blocks(document.read_text(encoding="utf-8")):
        where = f"{document.name}, line {block.line}"
        assert block.language in ("console", "python", "text"), where
        assert block.directive in DIRECTIVES, where
        if block.language == "text":
            assert not any(line.startswith("$") for line in block.lines), where
        if block.language == "console":
            assert block.commands(), where


def test_no_result_is_left_to_be_filled_in():
    assert "TODO-RESULT" not in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_exists(document):
    for block in read_blocks(document.read_text(encoding="utf-8")):
        if block.language == "console":
            for command, _ in block.commands():
                assert check_command(command) == "", f"{document.name}, line {block.line}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_in_the_prose_exists(document):
    named = re.findall(r"`make ([a-z-]+)[^`]*`", document.read_text(encoding="utf-8"))
    assert named
    assert set(named) <= make_targets()


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, *sorted(ROOT.glob("docs/*.md"))], ids=lambda path: path.name
)
def test_every_link_to_a_file_leads_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_every_command_of_audit_is_in_the_readme():
    text = README.read_text(encoding="utf-8")
    for name in typer.main.get_command(app).commands:
        assert f"`audit {name}`" in text, name


def test_make_help_lists_every_target():
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in make_targets():
        assert re.search(rf"^  {target} ", shown, re.MULTILINE), target


def test_console_blocks_print_what_they_show(reader, tmp_path):
    n_run = 0
    for block in read_blocks(README.read_text(encoding="utf-8")):
        if block.language != "console" or block.directive == "shown":
            continue
        for command, expected in block.commands():
            done = run(command, reader, tmp_path)
            said = f"README.md, line {block.line}: $ {command}\n{done.stdout}"
            flagging = re.match(r"audit (scan|check)\b", command) is not None
            assert done.returncode in ((0, 1) if flagging else (0,)), said
            actual = done.stdout.splitlines()
            if block.directive == "exact":
                assert actual == expected, said
            elif block.directive == "":
                assert matches(expected, actual), said
            elif expected:
                assert footer(expected), said
                assert footer(expected) == footer(actual), said
            n_run += 1
    assert n_run >= 3


def test_python_blocks_run(reader, monkeypatch, capsys):
    monkeypatch.chdir(reader)
    monkeypatch.delenv("AUDIT_WORKSPACE", raising=False)
    blocks = [b for b in read_blocks(README.read_text(encoding="utf-8")) if b.language == "python"]
    assert blocks
    for block in blocks:
        source = "\n" * block.line + "\n".join(block.lines)
        exec(compile(source, str(README), "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        (["3 pairs  in 2 clusters"], ["5 pairs in 12 clusters"], True),
        (["3 pairs"], ["3 tracks"], False),
        (["3 pairs"], ["3 pairs", "1 file skipped"], False),
        (["3 pairs", "…"], ["3 pairs", "1 file skipped"], True),
        (["…", "report: reports/scan-1-2.html"], ["a", "report: reports/scan-20-7.html"], True),
        (["a", "…", "b", "…", "c"], ["a", "x", "b", "c"], True),
        (["a", "…", "b", "…", "c"], ["a", "x", "c", "b"], False),
        (["a", "…", "a"], ["a"], False),
        (["mjq2hx5a  3:42  one.mp3"], ["b3wz7kqd  1:00  one.mp3"], True),
        (["mjq2hx5a  3:42  one.mp3"], ["b3wz7kqd  1:00  two.mp3"], False),
    ],
)
def test_output_is_compared_but_for_what_differs_between_runs(expected, actual, same):
    assert matches(expected, actual) is same


def test_the_last_lines_of_recorded_output_are_compared_but_for_numbers_and_wrapping():
    recorded = [
        "1.0000  one.mp3   pair compared",
        "2 matching pairs among 50 tracks",
        "1,225 pairs compared, threshold 0.7157; expected false positives: 1 (95 %",
        "interval 0–6)",
        "exact search; budget: 1 false pair",
        "threshold: excerpt-ece99d6c.json (val music); false alarm rate 8.2 × 10⁻⁴",
        "per pair (95 % interval 1 × 10⁻⁴–0.0016)",
    ]
    actual = [
        "10 matching pairs in 5 clusters among 6 tracks",
        "15 pairs compared, threshold 0.7; expected false positives: 0.01 (95 % interval",
        "0)",
        "exact search; budget: 0.01 false pairs",
        "threshold: track-4fca30b4.json (val music); false alarm rate 0.001 per",
        "pair (95 % interval 2.1 × 10⁻⁴–0.1)",
    ]
    assert len(footer(recorded)) == 5
    assert footer(recorded) == footer(actual)
    for old, new in (
        ("matching pairs", "pairs found"),
        ("exact search", "full search"),
        ("(val music)", "(music)"),
        ("per pair", "a pair"),
        ("95 %", "90 per cent"),
        ("expected false positives", "false positives expected"),
    ):
        stale = [line.replace(old, new) for line in recorded]
        assert stale != recorded
        assert footer(stale) != footer(actual), new


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("audit scan music/ --open", ""),
        ("audit catalogue verify --hashes", ""),
        ("audit --version", ""),
        ("make demo MUSIC=music", ""),
        ("audit scan music/ --fast", "scan has no option --fast"),
        ("audit listen music/", "audit has no command listen"),
        ("audit catalogue listen", "audit has no command listen"),
        ("make coffee", "the Makefile has no coffee"),
        ("rm -rf music/", "rm is neither audit nor make"),
    ],
)
def test_a_command_that_does_not_exist_is_found_out(command, wrong):
    assert check_command(command) == wrong


def test_blocks_are_read_with_their_directive_and_continuations():
    console = "<!-- test: shown -->\n```console\n$ audit scan \\\n    music/\nout\n```\n"
    document = console + "\n```text\nx\n```\n"
    first, second = read_blocks(document)
    assert (first.line, first.language, first.directive) == (2, "console", "shown")
    assert first.commands() == [("audit scan music/", ["out"])]
    assert (second.language, second.directive, second.lines) == ("text", "", ("x",))
