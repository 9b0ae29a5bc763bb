"""A case as evidence: it stands alone, every changed byte is found, and it is compared anew."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from tunes import tune
from typer.testing import CliRunner

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.encode import write_audio
from auditor.augment.waveform import change_speed
from auditor.cli import app
from auditor.errors import ResultError
from auditor.records import result_bytes, result_from_json
from auditor.report import case_file
from auditor.report.case_file import MANIFEST, PAGE, RESULT, ChangedCaseError, read_case, replay

TUNE_S = 20.0


def audit(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def scanned(tmp_path_factory) -> Path:
    """A folder with two tunes, a copy of the first as MP3, and a workspace of a scan."""
    folder = tmp_path_factory.mktemp("case")
    (folder / "music").mkdir()
    for seed in (1, 2):
        write_audio(folder / "music" / f"{seed}.wav", tune(seed, duration_s=TUNE_S), codec="wav")
    write_audio(folder / "music" / "copy.mp3", tune(1, duration_s=TUNE_S), codec="mp3")
    scan = ("scan", folder / "music", "-w", folder / "ws", "--no-report", "--no-compositions")
    assert audit(*scan, "--threshold", "0.5").exit_code == 1
    return folder


@pytest.fixture(scope="module")
def pair(scanned) -> str:
    pairs = json.loads((scanned / "ws" / "last-scan.json").read_text())["pairs"]
    (flagged,) = [pair["pair_id"] for pair in pairs if pair["flagged"]]
    return flagged


@pytest.fixture(scope="module")
def whole(scanned, pair) -> bytes:
    """The bytes of a case."""
    done = audit("case", pair, "-w", scanned / "ws", "-o", scanned / "case.zip")
    assert done.exit_code == 0, done.output
    content = (scanned / "case.zip").read_bytes()
    assert hashlib.sha256(content).hexdigest() in done.stdout
    return content


def parts_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def forged(parts: dict[str, bytes], **changes: object) -> bytes:
    """Return a case of other parts whose manifest has their hashes."""
    manifest = json.loads(parts[MANIFEST]) | changes
    manifest["parts"] = {
        name: hashlib.sha256(data).hexdigest() for name, data in parts.items() if name != MANIFEST
    }
    return case_file._archive(parts | {MANIFEST: (json.dumps(manifest) + "\n").encode()})


def test_a_case_holds_the_pair_the_sound_and_what_is_compared(whole, pair, scanned):
    parts = parts_of(whole)
    assert sorted(parts) == [
        "a-dvectors.f16",
        "a-levels.f16",
        "a-spectrum.u8",
        "b-dvectors.f16",
        "b-levels.f16",
        "b-spectrum.u8",
        PAGE,
        RESULT,
        "clip-1-a.ogg",
        "clip-1-b.ogg",
        MANIFEST,
    ]
    page = parts[PAGE].decode()
    hashes = [
        hashlib.sha256((scanned / "music" / name).read_bytes()).hexdigest()
        for name in ("1.wav", "copy.mp3")
    ]
    manifest = json.loads(parts[MANIFEST])
    for said in (pair, *hashes, manifest["weights_sha256"], manifest["code"], "audio controls"):
        assert said in page
    assert "<script" not in page
    assert len(manifest["catalogue_sha256"]) == 64
    contents = sorted({*hashes, hashlib.sha256((scanned / "music/2.wav").read_bytes()).hexdigest()})
    lines = "".join(f"{sha256}\n" for sha256 in contents)
    assert manifest["catalogue_sha256"] == hashlib.sha256(lines.encode()).hexdigest()


def test_the_same_case_is_the_same_bytes(whole, pair, scanned):
    assert audit("case", pair, "-w", scanned / "ws", "-o", scanned / "again.zip").exit_code == 0
    again = parts_of((scanned / "again.zip").read_bytes())
    mine = parts_of(whole)
    assert {name for name in mine if mine[name] != again[name]} <= {MANIFEST, PAGE}


def test_it_is_verified_without_the_catalogue_and_the_music(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case.zip").write_bytes(whole)
    done = audit("case", "--verify", "case.zip")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("unchanged: 11 files of pair ")
    assert "replayed, from what the case holds: same recording, score " in done.stdout
    assert os.listdir(tmp_path) == ["case.zip"], "nothing is unpacked"


def test_it_is_compared_anew_from_the_recordings(whole, scanned):
    (scanned / "case.zip").write_bytes(whole)
    verify = ("case", "--verify", scanned / "case.zip", "--file", scanned / "music" / "1.wav")
    one = audit(*verify)
    assert one.exit_code == 0, one.output
    assert "replayed, from one of the files: same recording" in one.stdout
    both = audit(*verify, "--file", scanned / "music" / "copy.mp3")
    assert both.exit_code == 0, both.output
    assert "replayed, from both files: same recording" in both.stdout
    other = audit(*verify, "--file", scanned / "music" / "2.wav")
    assert other.exit_code == 2
    assert "is neither recording of the case" in other.stderr


def test_any_changed_byte_is_found(whole):
    read_case(whole)
    places = [*range(0, 120), *range(120, len(whole) - 1, len(whole) // 150)]
    places += range(len(whole) - 90, len(whole))
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 0x21
        with pytest.raises(ResultError):
            read_case(bytes(changed))
    for changed in (whole + b"\0", b"\0" + whole, whole[:-1], whole[1:], whole + whole):
        with pytest.raises(ResultError):
            read_case(changed)


def test_a_part_that_is_missing_added_or_exchanged_is_found(whole):
    parts = parts_of(whole)
    less = {name: data for name, data in parts.items() if name != PAGE}
    more = parts | {"note.txt": b"x"}
    swapped = parts | {"clip-1-a.ogg": parts["clip-1-b.ogg"]}
    for changed in (less, more, swapped):
        with pytest.raises(ChangedCaseError, match="not what the manifest has the SHA-256 of"):
            read_case(case_file._archive(changed))


def test_a_forged_score_does_not_survive_the_replay(whole, tmp_path):
    parts = parts_of(whole)
    case = result_from_json(parts[RESULT].decode())
    for changes in ({"score": 0.61}, {"verdict": "shared excerpt"}):
        pair = dataclasses.replace(case.pairs[0], **changes)
        content = forged(parts | {RESULT: result_bytes(dataclasses.replace(case, pairs=(pair,)))})
        assert not replay(read_case(content)).agrees
    (tmp_path / "forged.zip").write_bytes(content)
    done = audit("case", "--verify", tmp_path / "forged.zip")
    assert done.exit_code == 1
    assert "DIFFERENT, from what the case holds: same recording" in done.stdout


def test_other_tracks_than_those_of_the_manifest_are_found(whole):
    parts = parts_of(whole)
    manifest = json.loads(parts[MANIFEST])
    swapped = forged(parts, a=manifest["b"], b=manifest["a"])
    with pytest.raises(ResultError):
        read_case(swapped)
    for field, value in (("n_windows", -1), ("n_frames", 10**9), ("duration_s", 1e300)):
        with pytest.raises(ResultError):
            read_case(forged(parts, a=manifest["a"] | {field: value}))


def hostile(*, name: str = "x.json", data: bytes = b"{}", how: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        archive.writestr(MANIFEST, b"{}")
        archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x05\x06" + bytes(18),
        hostile(name="../../outside.json"),
        hostile(name="/etc/outside"),
        hostile(name="a\\b"),
        hostile(data=bytes(10_000_000), how=zipfile.ZIP_DEFLATED),
        hostile(),
        hostile(data=b"[" * 100_000),
    ],
    ids=["empty", "no entries", "up", "absolute", "backslash", "bomb", "no manifest", "nested"],
)
def test_the_zip_of_a_stranger_is_refused(content, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    Path("odd.zip").write_bytes(content)
    done = audit("case", "--verify", "odd.zip")
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("audit: odd.zip: ")
    assert "Give one of audit case." in done.stderr
    assert not (tmp_path / "outside.json").exists()


def test_too_many_entries_and_false_sizes_are_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(100):
            archive.writestr(f"{number}.txt", b"")
    with pytest.raises(ResultError, match="it has 100 files"):
        read_case(buffer.getvalue())
    content = bytearray(hostile(name="big.bin", data=b"abcd"))
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(ResultError):
        read_case(bytes(content))


def test_a_submission_of_a_check_makes_a_case(scanned, tmp_path):
    shutil.copytree(scanned / "ws", tmp_path / "ws")
    new = tmp_path / "new.ogg"
    write_audio(new, tune(2, duration_s=TUNE_S), codec="ogg")
    check = audit(
        *("check", new, "-w", tmp_path / "ws", "--no-report", "--no-compositions"),
        *("--threshold", "0.5", "--format", "json"),
    )
    assert check.exit_code == 1, check.output
    result = json.loads(check.stdout)
    name = next(pair["pair_id"] for pair in result["pairs"] if pair["flagged"])
    decided = audit("decide", name, "--as", "licensed", "--by", "Ana", "-w", tmp_path / "ws")
    assert decided.exit_code == 0, decided.output
    done = audit("case", name, "-w", tmp_path / "ws", "-o", tmp_path / "c.zip")
    assert done.exit_code == 0, done.output
    page = parts_of((tmp_path / "c.zip").read_bytes())[PAGE].decode()
    assert "licensed by Ana" in page
    assert audit("case", "--verify", tmp_path / "c.zip").exit_code == 0
    new.unlink()
    gone = audit("case", name, "-w", tmp_path / "ws", "-o", tmp_path / "d.zip")
    assert gone.exit_code == 2
    assert "the submission is gone or has changed" in gone.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give either a pair id, or --verify"),
        (("x", "--verify", "y.zip"), "give either a pair id, or --verify"),
        (("x", "--file", "y.mp3"), "--file requires --verify"),
        (("x", "-o", "y.html"), "a case is a ZIP file"),
        (("--verify", "nowhere.zip"), "nowhere.zip cannot be read"),
        (("00000000",), "no pair 00000000 is in the last scan or check"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, said, scanned):
    done = audit("case", *arguments, "-w", scanned / "ws")
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.fixture(scope="module")
def far_copies(scanned) -> Path:
    """A folder with the first tune twice as fast, and three seconds of it."""
    folder = scanned / "far"
    folder.mkdir()
    music = tune(1, duration_s=TUNE_S)
    write_audio(folder / "faster.wav", change_speed(music, 2.0), codec="wav")
    clip = music[round(7.3 * SAMPLE_RATE_HZ) :][: 3 * SAMPLE_RATE_HZ]
    write_audio(folder / "clip.wav", clip, codec="wav")
    return folder


def far_pair(file: Path) -> str:
    """Return the flagged pair of a result, without those of the same bytes or as they are."""
    pairs = json.loads(file.read_text())["pairs"]
    (name, *_) = [pair["pair_id"] for pair in pairs if pair["flagged"]]
    return name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("faster.wav", "heard: A, moved 8.1 semitones down and to 1.60 times its length (--wide)"),
        ("clip.wav", "heard: A, with passages of seconds (--wide)"),
    ],
)
def test_a_pair_that_only_a_wide_check_found_is_replayed(scanned, far_copies, tmp_path, name, said):
    how = ("-w", scanned / "ws", "--no-report", "--no-compositions")
    assert audit("check", far_copies / name, *how).exit_code == 0, "not found as it is"
    assert audit("check", far_copies / name, "--wide", *how).exit_code == 1
    pair = far_pair(scanned / "ws" / "last-check.json")
    made = audit("case", pair, "-w", scanned / "ws", "-o", tmp_path / "case.zip")
    assert made.exit_code == 0 and "note:" not in made.stderr
    done = audit("case", "--verify", tmp_path / "case.zip")
    assert done.exit_code == 0, done.output
    assert said in done.stdout and "replayed, from what the case holds" in done.stdout
    files = ("--file", far_copies / name, "--file", scanned / "music" / "1.wav")
    done = audit("case", "--verify", tmp_path / "case.zip", *files)
    assert done.exit_code == 0, done.output
    parts = parts_of((tmp_path / "case.zip").read_bytes())
    assert said.removeprefix("heard: ") in parts[PAGE].decode()
    way = json.loads(parts[MANIFEST])["hearing"]
    otherwise = way | {"retuning": way["retuning"] | {"tempo": 0.7}, "brief_cost": None}
    assert not replay(read_case(forged(parts, hearing=otherwise))).agrees
    with pytest.raises(ResultError, match="out of range"):
        read_case(forged(parts, hearing=way | {"difference": 2.0}))


def test_a_pair_that_only_a_wide_scan_found_is_replayed(far_copies, scanned, tmp_path):
    music = (scanned / "music" / "1.wav", far_copies / "faster.wav")
    how = ("-w", tmp_path / "ws", "--no-report", "--no-compositions", "--wide")
    assert audit("scan", *music, *how).exit_code == 1
    pair = far_pair(tmp_path / "ws" / "last-scan.json")
    made = audit("case", pair, "-w", tmp_path / "ws", "-o", tmp_path / "case.zip")
    assert made.exit_code == 0 and "note:" not in made.stderr
    for files in ((), ("--file", music[0], "--file", music[1])):
        done = audit("case", "--verify", tmp_path / "case.zip", *files)
        assert done.exit_code == 0, done.output
        assert "(--wide)" in done.stdout
