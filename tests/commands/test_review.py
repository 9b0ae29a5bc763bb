"""``audit review``: the queue, the keys, and the files that may be opened."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from pathlib import Path

import pytest
from small_catalogue import make_check, make_scan, make_track, make_workspace, put, sha
from small_compositions import make_match
from typer.testing import CliRunner

from auditor.catalogue.catalogue import Catalogue, FileStamp
from auditor.cli import app
from auditor.commands.player import Player
from auditor.commands.review import KEYS
from auditor.decisions.apply import apply_decisions, in_order, pair_id, standing
from auditor.decisions.review import (
    LAST_SCAN,
    cases,
    find_file,
    keep_last,
    known_pairs,
    last_scan,
    load_result,
    undecided,
)
from auditor.errors import ResultError
from auditor.records import (
    DECISION_KEYS,
    Compositions,
    Evidence,
    MatchedRange,
    Pair,
    RecommendResult,
    to_json,
)
from auditor.report.html.page import render_html

NAMES = "abcd"
TRACKS = tuple(make_track(name) for name in NAMES)
PAIRS = apply_decisions(
    [Pair("a", "b", 0.95), Pair("a", "c", 0.9), Pair("b", "c", 0.85), Pair("a", "d", 0.5)],
    {track.id: track for track in TRACKS},
    [],
)


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("AUDIT_WORKSPACE", "AUDIT_BY"):
        monkeypatch.delenv(name, raising=False)
    folder = make_workspace(tmp_path / "ws", *TRACKS)
    keep_last(folder, make_scan(TRACKS, PAIRS[:3]))
    return folder


def review(workspace: Path, keys: str, *arguments: object):
    done = CliRunner().invoke(
        app, ["review", "-w", str(workspace), *map(str, arguments)], input=keys
    )
    return done


def decisions(workspace: Path) -> list[tuple[str, str, str, str]]:
    with Catalogue.open(workspace / "catalogue.sqlite3", read_only=True) as catalogue:
        return [
            (pair_id(d.sha256_a, d.sha256_b), d.kind, d.note, d.by) for d in catalogue.decisions()
        ]


AB, AC, BC = (pair_id(sha(x), sha(y)) for x, y in ("ab", "ac", "bc"))


def test_every_pair_is_shown_and_decided(workspace):
    done = review(workspace, "d\nn\nby ear\nc\nL\n", "--by", "Ana")
    assert done.exit_code == 0, done.output
    assert decisions(workspace) == [
        (AB, "false-alarm", "", "Ana"),
        (AC, "confirmed", "by ear", "Ana"),
        (BC, "licensed", "", "Ana"),
    ]
    for text in ("1 of 3", "0.9500", AB, "Artist a – Title a", "/music/b.mp3", "→ false-alarm"):
        assert text in done.stdout
    assert "3 decided, 0 skipped, 0 left" in done.stdout
    assert "every flagged pair of this result is decided" in review(workspace, "").stdout


def test_skip_quit_and_the_end_of_input(workspace):
    done = review(workspace, "s\nv\nq\n")
    assert "1 decided, 1 skipped, 2 left" in done.stdout
    assert decisions(workspace) == [(AC, "cover", "", "")]
    done = review(workspace, "f\n")
    assert "1 decided, 0 skipped, 1 left" in done.stdout
    assert [kind for _, kind, *_ in decisions(workspace)] == ["cover", "false-alarm"]
    assert review(workspace, "n\n").exit_code == 0


def test_undo_goes_back_to_the_pair(workspace):
    done = review(workspace, "u\nf\ns\nu\no\nq\n")
    assert "there is no decision yet" in done.stdout
    assert "undid the decision" in done.stdout
    assert [kind for _, kind, *_ in decisions(workspace)] == ["false-alarm", "undo", "same-owner"]
    assert "1 decided, 1 skipped, 2 left" in done.stdout


def test_the_last_decision_can_be_undone_and_a_pair_gone_back_to(workspace):
    done = review(workspace, "k\ns\nk\nd\nd\nd\nu\nv\n")
    assert "there is no undecided pair before this one" in done.stdout
    assert "that was the last pair: u undoes" in done.stdout
    assert [(name, kind) for name, kind, *_ in decisions(workspace)] == [
        *((AB, "false-alarm"), (AC, "false-alarm"), (BC, "false-alarm")),
        *((BC, "undo"), (BC, "cover")),
    ]
    assert review(workspace, "").exit_code == 0


def test_the_keys_are_those_of_the_page(workspace):
    page = render_html(make_scan(TRACKS, PAIRS[:3]))
    for kind, key in DECISION_KEYS.items():
        assert KEYS[key] is kind
        assert re.search(rf'data-kind="{kind}"[^>]*>[^<]+<kbd>{key}</kbd>', page), kind
        assert re.search(rf'\b{key}: \(\) => decide\("{kind}"\)', page), kind


FOUND = MatchedRange(72.0, 81.0, 103.0, 112.5, 1.06, 0.8, -2.0, 0.1, 0.9, 0.9)


def test_verdict_times_pitch_and_tempo_are_shown_and_the_match_is_played(
    workspace, tmp_path, programs
):
    evidence = Evidence(0.8, (FOUND,), 0.04, 0.05, 1.06, 0.2)
    pair = dataclasses.replace(PAIRS[0], verdict="shared excerpt", evidence=evidence)
    keep_last(workspace, make_scan(TRACKS, (pair,)))
    program = programs / "mpv"
    program.write_text(f'#!/bin/sh\nprintf "mpv %s\\n" "$*" >> {tmp_path}/log\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with Catalogue.open(workspace / "catalogue.sqlite3") as catalogue:
        for name in "ab":
            (tmp_path / f"{name}.mp3").write_bytes(name.encode())
            catalogue.relocate(name, os.fsencode(tmp_path / f"{name}.mp3"), FileStamp(1, 1))
    player = Player()
    assert player.plays_parts()
    assert player.play(str(tmp_path / "a.mp3"), (72.0, 81.0))
    (line,) = wait_for(tmp_path / "log", 1)
    assert line.endswith(f"--start=72.00 --length=9.00 {tmp_path}/a.mp3")
    player.close()
    done = review(workspace, "q\n")
    for text in (
        "shared excerpt",
        "A 1:12–1:21 = B 1:43–1:52",
        "6.0 % faster",
        "2.0 semitones lower",
    ):
        assert text in done.stdout
    program.unlink()
    done = review(workspace, "2\nq\n")
    assert "listen to 1:43–1:52: this player cannot play a part alone" in done.stdout


def test_pairs_of_earlier_checks_keep_their_ids(workspace, monkeypatch):
    names = ("x", "y", "z")
    for name in names:
        new = make_track(name, id=f"new-{name}")
        keep_last(workspace, make_check((new,), TRACKS, (Pair(new.id, "a", 0.9),)))
    for name in names:
        said = CliRunner().invoke(
            app,
            ["decide", pair_id(sha(name), sha("a")), "--as", "cover", "-w", str(workspace)],
        )
        assert said.exit_code == 0, said.output
    monkeypatch.setattr("auditor.decisions.review.MAX_KNOWN_PAIRS", 2)
    keep_last(workspace, make_check((new,), TRACKS, (Pair(new.id, "b", 0.9),)))
    assert known_pairs(workspace) == [in_order(sha("z"), sha("a")), in_order(sha("z"), sha("b"))]
    (workspace / "known-pairs.txt").write_bytes(b"\xff no pair\n" + b"0" * 64 + b" x\n")
    assert known_pairs(workspace) == []


def test_an_unknown_key_shows_the_keys_and_a_long_note_is_refused(workspace):
    done = review(workspace, "\n?\nn\n" + "x" * 2001 + "\nf\nn\nshort\nf\nq\n")
    assert "the note has 2,001 characters" in done.stdout
    assert decisions(workspace) == [(AB, "false-alarm", "short", "")]


def test_what_another_process_decided_is_not_asked(workspace):
    with Catalogue.open(workspace / "catalogue.sqlite3") as catalogue:
        left = undecided(cases(make_scan(TRACKS, PAIRS[:3])), standing(catalogue.decisions()))
        from rich.console import Console

        from auditor.commands.review import Session

        def decide_all() -> str:
            if catalogue.decisions():
                raise EOFError
            for x, y in ("ac", "bc"):
                catalogue.decide(sha(x), sha(y), "cover", by="other")
            return "f"

        session = Session(catalogue, Player(), Console(quiet=True), read_key=decide_all)
        session.run(left)
        assert len(catalogue.decisions()) == 3


def test_a_check_can_be_reviewed(workspace, tmp_path):
    new = make_track("x", id="new-1")
    file = tmp_path / "check.json"
    pair = Pair("new-1", "a", 0.9)
    file.write_text(to_json(make_check((new,), TRACKS[:1], (pair,))))
    done = review(workspace, "y\n", file)
    assert done.exit_code == 0, done.output
    assert decisions(workspace) == [(pair_id(sha("x"), sha("a")), "confirmed", "", "")]


def test_hostile_tags_are_text(workspace, tmp_path):
    tracks = (make_track("a", title="[red]x\x1b[2J\u202e"), make_track("b"))
    file = tmp_path / "r.json"
    file.write_text(to_json(make_scan(tracks, (Pair("a", "b", 0.9),))))
    done = review(workspace, "q\n", file)
    assert "[red]x\\x1b[2J\\u202e" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "the result has kind None"),
        ("x", "is not JSON"),
        (None, "is not a file. Give the JSON"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_bad_results_are_refused(workspace, tmp_path, text, message):
    file = tmp_path / "r.json"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = review(workspace, "", file)
    assert done.exit_code == 2
    assert message in done.stderr


def test_results_without_pairs_of_their_own_are_refused(tmp_path):
    scan = make_scan((), ())
    file = tmp_path / "r.json"
    file.write_text(to_json(RecommendResult({}, (), 0, scan.provenance)))
    with pytest.raises(ResultError, match="is of audit recommend. Give one of audit scan"):
        load_result(file)


def test_the_last_check_is_reviewed_where_there_is_no_scan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = make_workspace(tmp_path / "ws", *TRACKS)
    new = make_track("x", id="new-1")
    known = {track.id: track for track in (new, *TRACKS)}
    pairs = apply_decisions([Pair("new-1", "a", 0.9)], known, [])
    keep_last(folder, make_check((new,), TRACKS, pairs))
    done = review(folder, "y\n")
    assert "1 decided, 0 skipped, 0 left" in done.stdout
    assert [kind for _, kind, *_ in decisions(folder)] == ["confirmed"]


def test_without_a_last_scan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = make_workspace(tmp_path / "ws", *TRACKS)
    assert last_scan(folder) is None
    done = review(folder, "")
    assert done.exit_code == 2
    assert "no scan or check is stored in this workspace. Run: audit scan" in done.stderr
    (folder / LAST_SCAN).write_text("{}")
    assert last_scan(folder) is None


def test_three_files_of_the_same_bytes_are_one_case():
    tracks = tuple(make_track("a", id=name) for name in NAMES[:3])
    pairs = (Pair("a", "b", 1.0), Pair("a", "c", 1.0), Pair("b", "c", 1.0))
    (case,) = cases(make_scan(tracks, pairs))
    assert case.hashes == in_order(sha("a"), sha("a"))
    assert undecided([case], {case.hashes}) == []


# Files.


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Path:
    """A folder that is the whole PATH: an opener and a player that write down what they get."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("xdg-open", "afplay"):
        program = folder / name
        program.write_text(f'#!/bin/sh\nprintf "{name} %s\\n" "$1" >> {tmp_path}/log\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def wait_for(file: Path, n_lines: int) -> list[str]:
    import time

    for _ in range(600):
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) >= n_lines:
            return lines
        time.sleep(0.05)
    raise AssertionError(f"{file} has {lines}")


def test_a_file_is_found_by_its_content(tmp_path):
    old, odd, new = tmp_path / "old.mp3", tmp_path / "odd.exe", tmp_path / "new.mp3"
    for path in (old, odd, new):
        path.write_bytes(b"a")
    with Catalogue.open(tmp_path / "c.sqlite3") as catalogue:
        put(catalogue, make_track("a"), str(old))
        assert find_file(catalogue, make_track("a", path=str(new))) == str(old)
        old.write_bytes(b"other")
        assert find_file(catalogue, make_track("a", path=str(new))) == str(new)
        assert find_file(catalogue, make_track("a", path=str(odd))) == ""
        assert find_file(catalogue, make_track("a", path=str(tmp_path))) == ""
        assert find_file(catalogue, make_track("z", path=str(new))) == ""


def test_keys_play_and_open(tmp_path, workspace, programs):
    with Catalogue.open(workspace / "catalogue.sqlite3") as catalogue:
        for name in "ab":
            path = tmp_path / f"-{name} $(x).mp3"
            path.write_bytes(name.encode())
            catalogue.relocate(name, os.fsencode(path), FileStamp(1, 1))
    log = tmp_path / "log"
    player = Player()
    assert player.play(str(tmp_path / "-a $(x).mp3"))
    assert wait_for(log, 1) == [f"afplay {tmp_path}/-a $(x).mp3"]
    player.close()
    done = review(workspace, "x\nq\n")
    assert done.exit_code == 0, done.output
    opened = [f"xdg-open {tmp_path}/-{name} $(x).mp3" for name in "ab"]
    assert sorted(wait_for(log, 3)[1:]) == opened
    os.unlink(programs / "xdg-open")
    os.unlink(programs / "afplay")
    done = review(workspace, "1\ns\n2\nq\n", "--play", "--open")
    assert done.stdout.count("no program found to open") == 6
    assert "/music/c.mp3 is missing or has changed since it was compared" in done.stdout


def test_what_plays_is_ended(programs):
    program = programs / "afplay"
    program.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    player = Player()
    assert player.play("/x.mp3")
    first = player._playing
    assert first is not None
    assert player.play("/y.mp3")
    assert first.poll() is not None
    player.close()
    assert player._playing is None


def test_flagged_compositions_come_after_the_recordings(workspace):
    line = make_match("b", "d", pair_id=pair_id(sha("b"), sha("d")), licences_differ=True)
    chance = make_match("c", "d", flagged=False)
    known = make_match("a", "b")  # a recording, too: one decision is for both
    listed = Compositions((known, line, chance), 0.1, 6, 6, "0a1b2c3d", "rates.json")
    keep_last(workspace, dataclasses.replace(make_scan(TRACKS, PAIRS[:2]), compositions=listed))
    done = review(workspace, "d\nd\nv\n")
    assert done.exit_code == 0, done.output
    assert [(pair, kind) for pair, kind, *_ in decisions(workspace)] == [
        (AB, "false-alarm"),
        (AC, "false-alarm"),
        (line.pair_id, "cover"),
    ]
    shown = done.stdout[done.stdout.index("3 of 3") :]
    for text in (
        "same composition",
        "licences differ",
        "Much of the melody is the same from 0:12 to 0:43 in A and from 0:48 to 1:21 in B.",
        "melody 87 %, harmony 91 %",
        "A is 3 semitones higher than B",
        "A is 10 % faster than B",
    ):
        assert text in shown


def test_the_passage_of_a_composition_is_played(workspace):
    listed = Compositions((make_match("b", "d"),), 0.1, 6, 6, "0a1b2c3d", "rates.json")
    (case,) = cases(dataclasses.replace(make_scan(TRACKS, []), compositions=listed))
    ((a_start_s, a_end_s, b_start_s, b_end_s),) = case.passages
    assert (a_start_s, b_start_s) == (12.3, 47.6)
    assert b_end_s - b_start_s == pytest.approx(1.1 * (a_end_s - a_start_s))
