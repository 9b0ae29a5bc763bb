"""Damaged and forged data: a clear message, or the right result; never another one in silence."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from fault_audio import mutate
from fault_data import mutate_cell, mutate_csv, mutate_json
from fault_scenes import THRESHOLD, decide_command, with_catalogue
from faults import (
    FINE,
    MEMORY_BYTES,
    End,
    amount,
    facts_of,
    fresh_copy,
    seeded,
    sized,
)
from small_audit import calibrate_by_hand

from auditor.scoring.match import Scorer

FMA = (
    ",track,track,artist,album,track,track\n"
    ",title,genre_top,name,title,genres,license\n"
    "track_id,,,,,,\n"
    '2,Food,Hip-Hop,AWOL,A Way Of Life,"[21]",CC BY\n'
    '3,Electric Ave,,AWOL,"A Way, Of Life","[21, 3]",CC BY\n'
)
GENRES = "genre_id,#tracks,parent,title,top_level\n21,5,0,Hip-Hop,21\n3,2,21,Rap,21\n"


class Ground:
    """A scanned workspace to copy, and the commands that are run on what became of it."""

    def __init__(self, zygote, inputs, folder: Path) -> None:
        self.zygote, self.inputs = zygote, inputs
        self.template, self.case = folder / "template", folder / "case"
        self.case.mkdir()
        with_catalogue(zygote, inputs, self.case)
        for command in (
            decide_command(inputs, self.case),
            ["decide", "--export", self.case / "decisions.csv", "-w", self.case / "ws"],
        ):
            assert zygote.audit(*command).code == 0
        (self.case / "fma").mkdir()
        (self.case / "fma" / "tracks.csv").write_text(FMA)
        (self.case / "fma" / "genres.csv").write_text(GENRES)
        shutil.copy(inputs.weights, self.case)
        self.weights = self.case / inputs.weights.name
        (self.case / "fma_music" / "000").mkdir(parents=True)
        shutil.copy(inputs.music / "sub" / "a.mp3", self.case / "fma_music" / "000" / "000002.mp3")
        fresh_copy(self.case, self.template)

    def scan(self, *more: object) -> End:
        """Scan the catalogue as it is, with both indexes."""
        given = ["-w", self.case / "ws", "--extractor", self.weights, "-q"]
        how = ["--search", "annoy", "--format", "json", "--no-report", "-j", "1"]
        threshold = [] if "--threshold-file" in more else ["--threshold", THRESHOLD]
        return self.zygote.audit("scan", *given, *threshold, *how, *more)

    def check(self) -> End:
        given = ["-w", self.case / "ws", "--extractor", self.weights, "-q"]
        how = ["--search", "annoy", "--format", "json", "--no-report", "-j", "1"]
        return self.zygote.audit("check", self.inputs.new, *given, "--threshold", THRESHOLD, *how)


@pytest.fixture(scope="session")
def ground(zygote, inputs, tmp_path_factory) -> Ground:
    return Ground(zygote, inputs, tmp_path_factory.mktemp("ground"))


def basic_fault(end: End, codes=(*FINE, 2)) -> str:
    """Return what is wrong with an end, memory included."""
    if wrong := end.fault(codes=codes):
        return wrong
    return f"took {end.peak_bytes >> 20} MB" if end.peak_bytes > MEMORY_BYTES else ""


def is_right_or_said(end: End, expected: dict) -> bool:
    """Say whether a result is the expected one, or names the files whose rows are damaged."""
    found = facts_of(end)
    before = {(one["path"], one["code"]) for one in expected["skipped"]}
    now = {(one["path"], one["code"]) for one in found["skipped"]}
    return found == expected or bool(now - before)


HASHED = ("catalogue cells", "catalogue bytes", "indexes", "weights")

# What is checked by a hash: it is right, or refused.


@pytest.mark.parametrize(("what", "size"), sized(HASHED, ["indexes"]))
def test_what_changes_no_result(what, size, ground, tally):
    fresh_copy(ground.template, ground.case)
    reference = facts_of(ground.scan()), facts_of(ground.check())
    names = {
        "catalogue bytes": ["ws/catalogue.sqlite3"],
        "indexes": sorted(
            str(path.relative_to(ground.template))
            for path in (ground.template / "ws" / "index").rglob("*")
            if path.is_file()
        ),
        "weights": [ground.weights.name],
    }.get(what, [])
    with tally(f"damaged {what}") as found:
        for i in range(amount(size, 1, 30, 300)):
            chance = seeded(what, i)
            fresh_copy(ground.template, ground.case)
            if what == "catalogue cells":
                where = mutate_cell(ground.case / "ws" / "catalogue.sqlite3", chance)
            else:
                where = chance.choice(names)
                path = ground.case / where
                path.write_bytes(mutate(path.read_bytes(), chance))
            wrong = ""
            for run, expected in zip((ground.check, ground.scan), reversed(reference), strict=True):
                end = run()
                wrong = wrong or basic_fault(end)
                if not wrong and end.code in FINE and not is_right_or_said(end, expected):
                    wrong = f"another result without a word of {run.__name__}"
            found.case(f"{i}: {where}", wrong)


# What people may edit: refused with a message, or taken as it says.


def forged_thresholds(ground: Ground) -> tuple[Path, object]:
    weights_id = json.loads(ground.scan().stdout)["provenance"]["weights_id"]
    path = calibrate_by_hand(ground.case / "ws", weights_id)
    forged = Path(shutil.move(path, ground.case / "forged.json"))
    forged.write_bytes(forged.read_bytes().replace(b'"cosine/1"', f'"{Scorer.id}"'.encode()))
    return forged, lambda: ground.scan("--threshold-file", forged)


def forged_decisions(ground: Ground) -> tuple[Path, object]:
    forged = ground.case / "decisions.csv"
    where = ["-w", ground.case / "ws"]
    return forged, lambda: ground.zygote.audit("decide", "--import", forged, *where)


def forged_fma(name: str):
    def make(ground: Ground) -> tuple[Path, object]:
        folder = ground.case / "fma"
        music = ground.case / "fma_music"
        return folder / name, lambda: ground.scan(music, "--fma", folder)

    return make


def forged_result(name: str):
    def make(ground: Ground) -> tuple[Path, object]:
        out = ground.case / "out"
        command = ["report", out / "scan.json", "-o", out / "again.html", "-q"]
        return out / name, lambda: ground.zygote.audit(*command)

    return make


def forged_last(ground: Ground) -> tuple[Path, object]:
    command = ["decide", "5e9ae866", "-w", ground.case / "ws"]
    return ground.case / "ws" / "last-scan.json", lambda: ground.zygote.audit(*command)


FORGED = {
    "thresholds": forged_thresholds,
    "decisions.csv": forged_decisions,
    "FMA's tracks.csv": forged_fma("tracks.csv"),
    "FMA's genres.csv": forged_fma("genres.csv"),
    "results": forged_result("scan.json"),
    "media": forged_result("scan.media.json"),
    "last-scan.json": forged_last,
}


@pytest.mark.parametrize(("what", "size"), sized(FORGED, ["decisions.csv"]))
def test_forged_text(what, size, ground, tally):
    fresh_copy(ground.template, ground.case)
    path, run = FORGED[what](ground)
    whole = path.read_bytes()
    reference = run()
    assert reference.code in FINE or what == "last-scan.json", reference.stderr
    with tally(f"forged {what}") as found:
        for i in range(amount(size, 2, 40, 400)):
            chance = seeded(what, i)
            fresh_copy(ground.template, ground.case)
            forge = mutate_csv if path.suffix == ".csv" else mutate_json
            path.write_bytes(forge(whole, chance))
            end = run()
            wrong = basic_fault(end)
            if not wrong and re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", end.stderr + end.stdout):
                wrong = f"prints a control character: {end.stderr[-200:]!r}"
            found.case(str(i), wrong)
