"""``audit decide``, and decisions as scan and check show them."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from rich.console import Console
from small_audit import THRESHOLD, ids_by_name, save_small_extractor, write_tune
from small_catalogue import (
    make_check,
    make_scan,
    make_track,
    make_workspace,
    open_workspace_file,
    sha,
)
from typer.testing import CliRunner

from auditor.api.check import check
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.cli import app
from auditor.commands.options import OwnerTag
from auditor.decisions.apply import OWNER_TAGS, apply_decisions, pair_id
from auditor.decisions.csv_file import read_csv
from auditor.decisions.review import keep_last, last_scan
from auditor.records import Pair, result_from_json
from auditor.report.html.page import render_html
from auditor.report.terminal import print_table, to_csv
from auditor.report.text.general import headline
from auditor.workspace import open_workspace

A, B, C = (sha(name) for name in "abc")


def invoke(*arguments: object, text: str | None = None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=text)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("AUDIT_WORKSPACE", "AUDIT_BY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def workspace(tmp_path) -> Path:
    """Three tracks, and a last scan that flagged two pairs of them."""
    tracks = tuple(make_track(name) for name in "abc")
    folder = make_workspace(tmp_path / "ws", *tracks)
    pairs = apply_decisions(
        [Pair("a", "b", 0.9), Pair("a", "c", 0.85)], {track.id: track for track in tracks}, []
    )
    keep_last(folder, make_scan(tracks, pairs))
    return folder


def kinds(workspace: Path) -> list[str]:
    with open_workspace_file(workspace) as catalogue:
        return [made.kind for made in catalogue.decisions()]


def test_a_pair_is_decided_shown_and_undone(workspace):
    name = pair_id(A, B)
    done = invoke(
        "decide", name, "--as", "licensed", "--note", "[red]x", "--by", "Ana", "-w", workspace
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{name}  licensed  ")
    assert "Artist a – Title a (a)" in done.stdout
    shown = invoke("decide", "b", "a", "-w", workspace)
    assert "licensed  Ana  [red]x" in shown.stdout
    undone = invoke("decide", "a b", "--undo", "-w", workspace)
    assert undone.stdout.startswith(f"{name}  no longer decided")
    again = invoke("decide", name, "--undo", "-w", workspace)
    assert again.exit_code == 2
    assert f"pair {name} has no decision. Run: audit decide" in again.stderr
    assert kinds(workspace) == ["licensed", "undo"]


def test_a_file_outside_the_catalogue_can_be_decided(workspace, tmp_path):
    (tmp_path / "new.mp3").write_bytes(b"c")
    (tmp_path / "odd.mp3").write_bytes(b"odd")
    done = invoke("decide", "new.mp3", "odd.mp3", "--as", "cover", "-w", workspace)
    assert done.exit_code == 0, done.output
    assert "Artist c – Title c (c)" in done.stdout
    assert f"{sha('odd')[:12]}… (not in the catalogue)" in done.stdout


def test_a_pair_of_a_check_is_found_by_its_result(workspace, tmp_path):
    new = make_track("x", id="new-1")
    known = make_track("a")
    pairs = apply_decisions([Pair("new-1", "a", 0.9)], {"new-1": new, "a": known}, [])
    from auditor.report.write import write_report

    _, file = write_report(make_check((new,), (known,), pairs), tmp_path / "check.html")
    name = pair_id(sha("x"), A)
    assert invoke("decide", name, "--as", "cover", "-w", workspace).exit_code == 2
    done = invoke("decide", name, "--as", "cover", "-w", workspace, "--result", file)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give exactly one of a pair, --import FILE.csv"),
        (["a", "b", "--export", "x.csv"], "give exactly one of a pair, --import"),
        (["--export", "x.csv", "--undo"], "need a pair. Give the pair"),
        (["a", "b", "--as", "cover", "--undo"], "--as and --undo cannot be combined"),
        (["a", "b", "--note", "x"], "a --note needs a decision"),
        (["a", "b", "--as", "fine"], "fine"),
        (["a", "b", "--as", "cover", "--note", "x" * 2001], "Nothing was stored"),
        (["--import", "nowhere.csv"], "nowhere.csv cannot be read: No such file"),
        (["a", "b", "--result", "nowhere.json"], "nowhere.json is not a file"),
    ],
)
def test_wrong_use(workspace, arguments, message):
    done = invoke("decide", *arguments, "-w", workspace)
    assert done.exit_code == 2
    assert message in done.stderr
    assert kinds(workspace) == []


def test_no_catalogue_is_made(tmp_path):
    for arguments in (["a", "b", "--as", "cover"], ["--export", "-"], ["a", "b"]):
        done = invoke("decide", *arguments, "-w", tmp_path / "none")
        assert done.exit_code == 2
        assert "no catalogue at" in done.stderr
    assert not (tmp_path / "none").exists()


def test_export_and_import_are_each_other_undone(workspace, tmp_path):
    for note in ("=1+1", "two\nlines, “ä”", "'"):
        invoke("decide", "a", "b", "--as", "cover", "--note", note, "-w", workspace)
    invoke("decide", "a", "b", "--undo", "-w", workspace)
    with open_workspace_file(workspace) as catalogue:
        catalogue.decide(A, sha("gone"), "false-alarm")
    assert "5 decisions: d.csv" in invoke("decide", "--export", "d.csv", "-w", workspace).stderr
    other = make_workspace(tmp_path / "other", make_track("a"), make_track("b"))
    done = invoke("decide", "--import", "d.csv", "-w", other)
    assert "5 decisions imported, 0 already known" in done.stderr
    assert "1 pair with a track that is not in the catalogue, stored" in done.stderr
    assert pair_id(A, sha("gone")) in done.stderr
    again = invoke("decide", "--import", "d.csv", "-w", other)
    assert "0 decisions imported, 5 already known" in again.stderr
    assert invoke("decide", "--export", "e.csv", "-w", other).exit_code == 0
    assert read_csv("e.csv") == read_csv("d.csv")
    printed = invoke("decide", "--export", "-", "-w", other).stdout
    rows = list(csv.DictReader(io.StringIO(printed, newline="")))
    assert [row["note"] for row in rows][:2] == ["'=1+1", "two\nlines, “ä”"]
    assert rows[0]["track_a" if A < B else "track_b"] == "a Artist a – Title a"


def test_an_export_leaves_out_a_damaged_decision_and_says_so(workspace):
    invoke("decide", "a", "b", "--as", "cover", "--by", "Ana", "-w", workspace)
    invoke("decide", "a", "b", "--as", "licensed", "--by", "Ana", "-w", workspace)
    with contextlib.closing(sqlite3.connect(workspace / "catalogue.sqlite3")) as file, file:
        file.execute("UPDATE decisions SET decided_by = 'Anb' WHERE kind = 'cover'")
    refused = invoke("decide", "a", "b", "-w", workspace)
    assert refused.exit_code == 2
    assert "decision 1 of the catalogue is damaged" in refused.stderr
    done = invoke("decide", "--export", "d.csv", "-w", workspace)
    assert done.exit_code == 2
    assert "left out: decision 1 of the catalogue is damaged" in done.stderr
    assert [made.kind for made in read_csv("d.csv")] == ["licensed"]


def test_an_export_has_a_and_b_in_the_order_of_the_last_report(workspace):
    first, second = ("a", "b") if A > B else ("b", "a")  # not as they are stored
    tracks = (make_track("a"), make_track("b"))
    keep_last(workspace, make_scan(tracks, (Pair(first, second, 0.9),)))
    invoke("decide", "a", "b", "--as", "cover", "--note", "A is first", "-w", workspace)
    invoke("decide", "--export", "d.csv", "-w", workspace)
    (row,) = csv.DictReader(io.StringIO(Path("d.csv").read_text("utf-8"), newline=""))
    assert (row["sha256_a"], row["sha256_b"]) == (sha(first), sha(second))
    assert row["track_a"].startswith(f"{first} ")
    assert row["track_b"].startswith(f"{second} ")
    assert read_csv("d.csv")[0].sha256_a == sha(second)


def test_a_bad_line_imports_nothing(workspace):
    good = ",".join(("cover", A, B))
    Path("d.csv").write_text(f"kind,sha256_a,sha256_b\n{good}\nmaybe,{A},{B}\n")
    done = invoke("decide", "--import", "d.csv", "-w", workspace)
    assert done.exit_code == 2
    assert "d.csv, line 3: 'maybe' is not a decision" in done.stderr
    assert kinds(workspace) == []


def test_the_choices_are_those_of_the_records():
    assert tuple(tag.value for tag in OwnerTag) == OWNER_TAGS


def test_one_can_decide_while_a_scan_holds_the_lock(workspace):
    from auditor.workspace import lock_workspace

    with lock_workspace(workspace):
        assert invoke("decide", "a", "b", "--as", "cover", "-w", workspace).exit_code == 0


# As results show them.


def decided_scan():
    tracks = tuple(make_track(name) for name in "abc")
    pairs = (
        Pair("a", "c", 0.85, pair_id="11111111", licences_differ=True),
        Pair("a", "b", 0.9, False, False, "22222222", "licensed", "a <b>\n[red]note"),
        Pair("b", "c", 0.8, pair_id="33333333", decision="confirmed"),
    )
    return make_scan(tracks, pairs)


def printed(result, **options) -> str:
    out = io.StringIO()
    print_table(result, Console(file=out, width=100), **options)
    return out.getvalue()


def test_the_table_lists_decided_pairs_apart():
    text = printed(decided_scan())
    assert "22222222" not in text
    assert "11111111" in text
    assert "licences differ" in text
    assert "decided: confirmed" in text
    assert "1 pair set aside: 1 licensed; --show-decided lists them" in text
    text = printed(decided_scan(), show_decided=True)
    assert "Set aside by decisions:" in text
    assert "a <b> / [red]note" in text
    assert text.index("33333333") < text.index("22222222")
    assert "2 matching pairs" in headline(decided_scan())
    only = dataclasses.replace(decided_scan(), pairs=decided_scan().pairs[1:2])
    assert headline(only) == "No undecided match among 3 tracks"


def test_the_report_lists_decided_pairs_apart():
    html = render_html(decided_scan())
    apart = html[html.index('id="decided"') :]
    assert "1 pair set aside: 1 licensed" in apart
    assert "a &lt;b&gt; / [red]note" in apart
    assert "pair 22222222" in apart.partition('id="pairs-data"')[0]
    data = json.loads(html.partition('id="pairs-data">')[2].partition("</script>")[0])
    badges = [(pair.get("badges"), pair["group"]) for pair in data["pairs"]]
    assert badges == [
        (["licences differ"], "flagged"),
        (["decided: confirmed"], "flagged"),
        (["decided: licensed"], "decided"),
    ]
    assert 'id="decided"' not in render_html(make_scan((), ()))


def test_a_check_lists_decided_pairs_apart():
    pairs = (
        Pair("n", "a", 0.9, False, False, "11111111", "licensed", "by contract"),
        Pair("n", "b", 0.5, flagged=False),
    )
    tracks = tuple(make_track(name) for name in "ab")
    result = make_check((make_track("n"),), tracks, pairs)
    assert (
        headline(result)
        == "No undecided match: 1 submission, compared with the catalogue (2 tracks)"
    )
    assert "nothing flagged: 1 pair set aside by decisions" in printed(result)
    assert "by contract" not in printed(result)
    assert "by contract" in printed(result, show_decided=True)
    html = render_html(result)
    first, _, apart = html.partition("Set aside by earlier decisions: 1")
    assert "Below the threshold" in first
    assert "11111111" not in first
    assert "by contract" in apart


def test_csv_holds_the_decision():
    rows = list(csv.DictReader(io.StringIO(to_csv(decided_scan()), newline="")))
    assert [row["decision"] for row in rows] == ["", "licensed", "confirmed"]
    assert [row["licences_differ"] for row in rows] == ["true", "false", "false"]
    assert rows[1]["pair_id"] == "22222222"


# Real scans and checks.


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_small_extractor(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """One tune twice, another one, and the first again outside the library."""
    folder = tmp_path_factory.mktemp("music")
    write_tune(folder / "lib/a.wav", 1)
    write_tune(folder / "lib/copy.flac", 1)
    write_tune(folder / "lib/other.wav", 2)
    write_tune(folder / "new.mp3", 1)
    return folder


def test_decisions_in_scans_and_checks(tmp_path, weights, music):
    options = Options(threshold=THRESHOLD, compositions=False)
    workspace = tmp_path / "ws"
    with open_workspace(workspace, extractor=weights, write=True) as opened:
        (pair,) = scan(opened, [music / "lib"], options=options).pairs
        assert pair.flagged
        ids = ids_by_name(opened.catalogue)
        a, copy = (opened.catalogue.track(ids[name]) for name in ("a.wav", "copy.flac"))
        assert pair.pair_id == pair_id(a.sha256, copy.sha256)
        opened.catalogue.update_tags(dataclasses.replace(a, artist="X", licence="CC0"))
        opened.catalogue.update_tags(dataclasses.replace(copy, artist="x ", licence="CC BY"))
        by_owner = scan(opened, options=dataclasses.replace(options, same_owner=("artist",)))
        assert [p.decision for p in by_owner.pairs] == ["same-owner"]
        assert by_owner.pairs[0].licences_differ
        assert by_owner.clusters == ()
        again = scan(opened, options=options)
        assert again.pairs[0].flagged
        assert len(again.clusters) == 1
        checked = check(opened, [music / "new.mp3"], options=options)
        assert [p.flagged for p in checked.pairs] == [True, True, False]

    given = ("-w", workspace, "--extractor", weights, "--threshold", THRESHOLD)
    done = invoke("scan", *given, "--no-report", "-q")
    assert done.exit_code == 1
    assert pair.pair_id in done.stdout
    kept = last_scan(workspace)
    assert kept is not None
    assert [p.pair_id for p in kept.pairs] == [pair.pair_id]

    # A decision outlives a file that is renamed.
    said = ("--as", "same-owner", "--note", "our own")
    assert invoke("decide", pair.pair_id, *said, "-w", workspace).exit_code == 0
    lib = Path(shutil.copytree(music / "lib", tmp_path / "moved"))
    (lib / "a.wav").rename(lib / "b.wav")
    done = invoke("scan", lib, *given, "--format", "json", "--no-report", "-q")
    result = result_from_json(done.stdout)
    assert done.exit_code == int(any(p.flagged for p in result.pairs))
    ours = [p for p in result.pairs if p.pair_id == pair.pair_id]
    assert ours
    assert {(p.flagged, p.decision, p.decision_note) for p in ours} == {
        (False, "same-owner", "our own")
    }

    # A submission carries its decision too; the other copy stays flagged.
    done = invoke("check", music / "new.mp3", *given, "-o", tmp_path / "check.html")
    assert done.exit_code == 1
    first, *_ = result_from_json((tmp_path / "check.json").read_text()).pairs
    assert f"decide a pair: audit decide {first.pair_id} --as KIND" in done.stderr
    how = ("--as", "false-alarm", "--by", "Ana", "-w", workspace)
    assert invoke("decide", first.pair_id, *how).exit_code == 0
    after = invoke("check", music / "new.mp3", *given, "--format", "json", "--no-report", "-q")
    decided = [p for p in result_from_json(after.stdout).pairs if p.decision]
    assert {(p.pair_id, p.decision_by) for p in decided} == {(first.pair_id, "Ana")}
    assert decided[0].decision_when.endswith("Z")
    states = {p.pair_id: p.flagged for p in result_from_json(after.stdout).pairs}
    assert states[first.pair_id] is False
    assert after.exit_code == int(any(states.values()))


def test_a_scan_with_everything_decided_ends_with_zero(tmp_path, weights, music):
    given = ("-w", tmp_path / "ws", "--extractor", weights, "--threshold", THRESHOLD)
    first = invoke("scan", music / "lib", *given, "--no-report", "-q")
    assert first.exit_code == 1
    reviewed = invoke("review", "-w", tmp_path / "ws", text="f\n")
    assert "1 decided, 0 skipped, 0 left" in reviewed.stdout
    done = invoke("scan", *given, "--no-report", "-q", "--show-decided")
    assert done.exit_code == 0, done.output
    assert "No undecided match among 3 tracks" in done.stdout
    assert "decided: false alarm" in done.stdout


def test_a_check_that_cannot_be_kept_says_so_and_goes_on(tmp_path, weights, music):
    given = ("-w", tmp_path / "ws", "--extractor", weights, "--threshold", THRESHOLD)
    assert invoke("scan", music / "lib", *given, "--no-report", "-q").exit_code == 1
    (tmp_path / "ws" / "last-check.json").mkdir()
    done = invoke("check", music / "new.mp3", *given, "--no-report", "-q")
    assert done.exit_code == 1
    said = "this check could not be stored for audit review and audit decide: Is a directory"
    assert said in done.stderr


def test_a_scan_that_cannot_be_kept_says_so_and_goes_on(tmp_path, weights, music):
    given = ("-w", tmp_path / "ws", "--extractor", weights, "--threshold", THRESHOLD)
    (tmp_path / "ws" / "last-scan.json").mkdir(parents=True)
    done = invoke("scan", music / "lib", *given, "--no-report", "-q")
    assert done.exit_code == 1
    said = "this scan could not be stored for audit review and audit decide: Is a directory"
    assert said in done.stderr
