"""What outputs of a model repeat: passages, excess over held-out music, exclusions, bad input."""

from __future__ import annotations

import csv
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_audit import facts
from synthetic_music import synthesise_track

import auditor.ingest.prepare
from auditor.api import replication
from auditor.api.generated import GeneratedOptions, find_repeats
from auditor.api.run import Options
from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.encode import write_audio
from auditor.augment.waveform import plant
from auditor.errors import UsageError
from auditor.records import GeneratedResult, result_from_json, to_json
from auditor.report.html.page import render_html
from auditor.report.results_csv import to_csv
from auditor.report.results_parquet import to_parquet
from auditor.workspace import open_workspace

TRACK_S = 20.0
QUIET = GeneratedOptions(power=False)


def piece(seed: int) -> np.ndarray:
    return synthesise_track(seed, duration_s=TRACK_S)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Training 1, 2 and 3 (2 twice); held-out 11 and 12; three outputs.

    Output ``pasted`` has 10 s of 2 from 6 s on; ``both`` is the very file of 1; ``own`` is alone.
    """
    folder = tmp_path_factory.mktemp("data")
    for name in ("outputs", "training", "heldout"):
        (folder / name).mkdir()
    for seed in (1, 2, 3):
        write_audio(folder / "training" / f"{seed}.wav", piece(seed), codec="wav")
    write_audio(folder / "training" / "2-again.mp3", piece(2), codec="mp3")
    for seed in (11, 12):
        write_audio(folder / "heldout" / f"{seed}.wav", piece(seed), codec="wav")
    passage = piece(2)[4 * SAMPLE_RATE_HZ : 14 * SAMPLE_RATE_HZ]
    pasted = plant(passage, piece(21), position_s=6.0)
    write_audio(folder / "outputs" / "pasted<b>=1.wav", pasted, codec="wav")
    write_audio(folder / "outputs" / "own.wav", piece(22), codec="wav")
    shutil.copy(folder / "training" / "1.wav", folder / "outputs" / "both.wav")
    (folder / "outputs.csv").write_text(
        "path,prompt,seed\n"
        'outputs/pasted<b>=1.wav,"=a <i>loud</i> song",7\noutputs/own.wav,quiet,8\n'
        "outputs/both.wav,,9\noutputs/gone.wav,lost,10\n"
    )
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    with open_workspace(tmp_path_factory.mktemp("ws") / "ws", write=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def found(workspace, data) -> GeneratedResult:
    return repeats(workspace, data, outputs="outputs.csv")


def repeats(workspace, data, *, outputs="outputs", training="training", heldout="heldout", **how):
    names = (str(data / outputs), str(data / training), str(data / heldout))
    return find_repeats(workspace, *names, counting=how.pop("counting", QUIET), **how)


def name_of(result) -> dict[str, str]:
    return {track.id: os.path.basename(track.path) for track in result.tracks}


def test_passages_have_their_times_tracks_and_columns(found):
    names = name_of(found)
    by_name = {names[one.track]: one for one in found.outputs}
    assert set(by_name) == {"pasted<b>=1.wav", "own.wav", "both.wav"}
    passages = [r for r in found.repeats if names[r.output].startswith("pasted")]
    assert {names[r.track] for r in passages} == {"2.wav", "2-again.mp3"}
    for one in passages:
        assert (one.start_s, one.end_s) == (pytest.approx(6.0, abs=1.0), pytest.approx(16.0, abs=1))
        assert one.track_start_s == pytest.approx(4.0, abs=1.0)
        assert (one.tempo, one.pitch_semitones) == (
            pytest.approx(1.0, abs=0.005),
            pytest.approx(0.0, abs=0.05),
        )
        assert (one.side, one.counted) == ("training", True)
    assert by_name["pasted<b>=1.wav"].training_s == pytest.approx(10.0, abs=1.5)
    assert by_name["pasted<b>=1.wav"].columns == {"prompt": "=a <i>loud</i> song", "seed": "7"}
    assert by_name["both.wav"].training_s == pytest.approx(TRACK_S, abs=0.1)
    assert by_name["own.wav"].training_s == by_name["own.wav"].heldout_s == 0.0
    assert "1 entry does not exist and could not be compared." in found.notes


def test_the_statement_counts_outputs_beyond_held_out_music(found):
    first = found.excess[0]
    assert (first.min_s, first.n_heldout, first.heldout) == (10.0, 0, 0.0)
    whatever = next(one for one in found.excess if one.min_s == 0.0)
    assert whatever.n_training == 2
    assert whatever.low <= whatever.excess <= whatever.high
    assert found.statement.startswith("of 3 outputs ")
    assert found.statement.endswith("beyond what held-out music explains; 0 of H")


def test_training_tracks_say_what_repeats_them_and_their_copies(found):
    names = name_of(found)
    by_name = {names[one.track]: one for one in found.repeated}
    assert {names[i] for i in by_name["2.wav"].copies} == {"2-again.mp3"}
    assert {names[i] for i in by_name["2-again.mp3"].copies} == {"2.wav"}
    assert by_name["1.wav"].copies == ()
    assert [one.n_outputs for one in found.repeated] == [1, 1, 1]


def test_the_result_is_read_back_and_shown_escaped(found):
    assert result_from_json(to_json(found)) == found
    page = render_html(found)
    assert "What would have been found" not in page
    assert "pasted&lt;b&gt;=1.wav" in page
    assert "<b>=1" not in page
    assert "<i>loud" not in page
    assert found.statement[1:] in page.replace("&#39;", "'")
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert {row["manifest_prompt"] for row in rows} == {"'=a <i>loud</i> song", "quiet", ""}
    assert sum(row["side"] == "training" for row in rows) == 3
    assert all(len(row["a_sha256"]) == 64 for row in rows)


def test_parquet_has_the_types_of_the_columns(found):
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(io.BytesIO(to_parquet(found)))
    kinds = {name: str(table.schema.field(name).type) for name in table.schema.names}
    assert (kinds["counted"], kinds["start_s"], kinds["side"]) == ("bool", "double", "string")
    assert (kinds["manifest_seed"], kinds["training_s"]) == ("string", "double")
    assert set(table["manifest_seed"].to_pylist()) == {"7", "8", "9"}
    assert table["start_s"].null_count == 1  # the output that repeats nothing


def test_a_second_run_embeds_nothing_and_says_the_same(workspace, data, found, monkeypatch):
    monkeypatch.setattr(auditor.ingest.prepare, "embed_file", lambda *a: pytest.fail("again"))
    assert facts(repeats(workspace, data, outputs="outputs.csv")) == facts(found)


def test_recordings_and_artists_on_both_sides_do_not_count(workspace, data, tmp_path):
    shutil.copytree(data / "heldout", tmp_path / "heldout")
    write_audio(tmp_path / "heldout" / "2-leaked.ogg", piece(2), codec="ogg")
    found = repeats(workspace, data, heldout=tmp_path / "heldout")
    names = name_of(found)
    by_name = {names[one.track]: one for one in found.repeated}
    assert by_name["2.wav"].excluded == by_name["2-again.mp3"].excluded == "recording"
    assert by_name["1.wav"].excluded == ""
    assert [side.n_same_recording for side in found.sides] == [2, 1]
    assert next(one for one in found.excess if one.min_s == 0.0).n_training == 1
    assert {r.counted for r in found.repeats if names[r.track].startswith("2")} == {False}
    assert any("2 tracks of the training music do not count" in note for note in found.notes)


def test_artists_on_both_sides_are_excluded_unless_they_are_kept(workspace, data, tmp_path):
    for name, artist in (("training/a.mp3", "Ana"), ("training/b.mp3", "Bo"),
                         ("heldout/c.mp3", "ana "), ("heldout/d.mp3", "Di")):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sound = synthesise_track(sum(map(ord, name)), duration_s=6.0)
        write_audio(tmp_path / name, sound, codec="mp3")
        tag(tmp_path / name, artist)
    sides = {"training": tmp_path / "training", "heldout": tmp_path / "heldout"}
    found = repeats(workspace, data, **sides)
    assert [(s.n_contents, s.n_same_artist) for s in found.sides] == [(1, 1), (1, 1)]
    kept = repeats(workspace, data, counting=GeneratedOptions(power=False, keep_artists=True),
                   **sides)  # fmt: skip
    assert [s.n_contents for s in kept.sides] == [2, 2]
    tag(tmp_path / "heldout/d.mp3", "Bo")
    with pytest.raises(UsageError, match="nothing is left of the training music.*--keep-artists"):
        repeats(workspace, data, **sides)


def tag(path: Path, artist: str) -> None:
    from mutagen.easyid3 import EasyID3

    tags = EasyID3()
    tags.update({"artist": artist})
    tags.save(path)


def test_less_held_out_music_says_what_it_costs(workspace, data, tmp_path):
    (tmp_path / "heldout").mkdir()
    shutil.copy(data / "heldout" / "11.wav", tmp_path / "heldout")
    found = repeats(workspace, data, heldout=tmp_path / "heldout")
    training, heldout = found.sides
    assert (training.sampled, heldout.sampled) == (pytest.approx(0.25, abs=0.02), 1.0)
    assert "sample of the training music as large as the held-out music (25 %)" in found.statement
    (note,) = (note for note in found.notes if "less held-out music" in note)
    assert "counts a sample of 25 %" in note
    whatever = next(one for one in found.excess if one.min_s == 0.0)
    # one output matches one of four tracks, the other two of them
    assert whatever.training == pytest.approx(0.25 + 0.5, abs=0.01)


def test_passages_put_into_outputs_are_found_again(workspace, data, monkeypatch):
    monkeypatch.setattr(replication, "SHARES", (0.05, 0.5))
    chosen = ("pasted", "re-encoded (mp3, 64 kbit/s)")
    made = {name: replication.ALTERATIONS[name] for name in chosen}
    monkeypatch.setattr(replication, "ALTERATIONS", made)
    found = repeats(workspace, data, counting=GeneratedOptions(n_hosts=1, seed=3))
    cells = {(one.alteration, one.share): one for one in found.replications}
    assert set(cells) == {(name, share) for name in chosen for share in (0.05, 0.5)}
    assert cells["pasted", 0.5].n_found == cells["pasted", 0.5].n > 0
    assert cells["pasted", 0.5].mean_s == pytest.approx(TRACK_S / 2, abs=0.1)
    assert cells["pasted", 0.05].n_found == 0  # 1 s
    assert "What would have been found" in render_html(found)


def test_every_alteration_is_put_where_it_is_said_to_be():
    host, passage = piece(21), piece(2)[: 4 * SAMPLE_RATE_HZ]
    for name in replication.ALTERATIONS:
        rng = np.random.default_rng(1)
        made, start_s, end_s = replication.put_into(host, passage, name, rng)
        assert made.dtype == np.float32
        assert (len(made), np.abs(made).max() <= 1.0) == (len(host), True)
        assert end_s - start_s == pytest.approx(4.0, abs=0.3)
        first, last = (round(s * SAMPLE_RATE_HZ) for s in (start_s, end_s))
        scale = float(np.abs(made[:first]).max() / np.abs(host[:first]).max())
        assert np.allclose(made[:first], scale * host[:first], atol=1e-4)
        assert not np.allclose(made[first:last], scale * host[first:last], atol=1e-2)


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (("training", "training", "heldout"), "OUTPUTS and --training are the same 4 files"),
        (("outputs", "training", "training"), "--training and --heldout are the same 4 files"),
        (("none", "training", "heldout"), "none does not exist"),
        (("outputs", "empty", "heldout"), "no audio file was found"),
        (("silent", "training", "heldout"), "none of its 2 files contains usable sound"),
    ],
)
def test_bad_input_is_named(workspace, data, names, match):
    (data / "empty").mkdir(exist_ok=True)
    (data / "silent").mkdir(exist_ok=True)
    for n in (1, 2):
        hush = np.zeros((4 + n) * SAMPLE_RATE_HZ, np.float32)
        write_audio(data / "silent" / f"{n}.wav", hush, codec="wav")
    outputs, training, heldout = names
    with pytest.raises(UsageError, match=match):
        repeats(workspace, data, outputs=outputs, training=training, heldout=heldout)


def test_outputs_inside_the_training_folder_are_apart_from_it(workspace, data, tmp_path):
    shutil.copytree(data / "training", tmp_path / "training")
    shutil.copytree(data / "outputs", tmp_path / "training" / "outputs")
    found = repeats(workspace, tmp_path, outputs="training/outputs", heldout=data / "heldout")
    assert [c.n_tracks for c in found.collections] == [3, 4, 2]
    assert any("lies inside" in note and "OUTPUTS only" in note for note in found.notes)
    assert len({one.output for one in found.repeats if one.side == "training"}) == 2


def test_wide_finds_three_seconds_at_as_many_comparisons_again(workspace, data, tmp_path):
    passage = piece(3)[8 * SAMPLE_RATE_HZ : 11 * SAMPLE_RATE_HZ]
    (tmp_path / "outputs").mkdir()
    short = plant(passage, piece(23), position_s=9.0)
    write_audio(tmp_path / "outputs" / "short.wav", short, codec="wav")
    write_audio(tmp_path / "outputs" / "own.wav", piece(24), codec="wav")
    outputs = str(tmp_path / "outputs")
    narrow = repeats(workspace, data, outputs=outputs)
    wide = repeats(workspace, data, outputs=outputs, options=Options(wide=True))
    assert narrow.repeats == ()
    (one,) = wide.repeats
    names = name_of(wide)
    assert (names[one.output], names[one.track]) == ("short.wav", "3.wav")
    assert one.start_s == pytest.approx(9.0, abs=0.7)
    assert one.end_s == pytest.approx(12.0, abs=0.7)
    assert one.track_start_s == pytest.approx(8.0, abs=0.7)
    assert wide.threshold.n_comparisons == 2 * narrow.threshold.n_comparisons
    assert wide.threshold.n_pairs == narrow.threshold.n_comparisons
    assert any("--wide" in note for note in (*wide.notes, wide.threshold.note))


def test_power_is_measured_with_the_search_of_the_run(workspace, data, monkeypatch):
    monkeypatch.setattr(replication, "SHARES", (0.15,))
    made = {"pasted": replication.ALTERATIONS["pasted"]}
    monkeypatch.setattr(replication, "ALTERATIONS", made)
    counting = GeneratedOptions(n_hosts=1, seed=3)
    found = {
        wide: repeats(workspace, data, counting=counting, options=Options(wide=wide))
        for wide in (False, True)
    }
    (narrow,), (wide,) = (found[way].replications for way in (False, True))
    assert narrow.n_found == 0  # 3 s
    assert wide.n_found == wide.n > 0
