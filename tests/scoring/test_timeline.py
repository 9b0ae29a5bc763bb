"""The timeline of a mix: parts, lines that are joined, places, gaps; and a mix of known tracks."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from synthetic_music import synthesise_track

from auditor.api.scan import scan
from auditor.api.tracklist import find_gaps, tracklist
from auditor.audio.encode import write_audio
from auditor.errors import CatalogueError, UsageError
from auditor.records import MatchedRange, result_from_json, to_json
from auditor.report.html.page import render_html
from auditor.report.results_csv import to_csv
from auditor.report.text.timeline import timeline_lines, to_cue
from auditor.report.write import write_report
from auditor.scoring.timeline import (
    TimelineEntry,
    grown_until_next,
    join_ranges,
    mix_parts,
    n_parts,
    overlap_share,
    place_entries,
    rejoin_entries,
)
from auditor.workspace import open_workspace

RATE_HZ = 16_000


def one(a_s: float, b_s: float, length_s: float, score: float = 0.9, tempo: float = 1.0):
    end_s = b_s + tempo * length_s
    return MatchedRange(a_s, a_s + length_s, b_s, end_s, tempo, score, 0.0, 0.0, 0.8, score)


def test_parts_cover_the_mix_twice():
    n = 1000
    mix = SimpleNamespace(
        track=SimpleNamespace(duration_s=0.8 * n + 2.4),
        dvectors=np.arange(n)[:, None],
        levels=np.zeros(n),
        spectrum=np.zeros((8000, 4), np.uint8),
    )
    parts = list(mix_parts(mix, 0.8, 3.2))
    assert len(parts) == n_parts(mix.track.duration_s)
    seen = np.concatenate([part.dvectors[:, 0] for part in parts])
    assert set(seen.tolist()) == set(range(n))
    assert all(part.end_s - part.start_s <= 121.0 for part in parts)
    assert max(len(part.dvectors) for part in parts) <= 151


def test_ranges_of_one_line_are_joined_over_a_hole():
    pieces = [one(0.0, 10.0, 40.0), one(60.0, 70.5, 30.0, 0.35), one(55.0, 200.0, 10.0)]
    first, other = join_ranges(pieces, threshold=0.4)
    assert (first.a_start_s, first.a_end_s, first.b_end_s) == (0.0, 90.0, 100.5)
    assert (other.a_start_s, other.b_start_s) == (55.0, 200.0)
    assert join_ranges([one(0.0, 0.0, 40.0, 0.35)], threshold=0.4) == []
    assert join_ranges([one(0.0, 0.0, 3.0)], threshold=0.4) == []
    assert len(join_ranges([one(0.0, 0.0, 20.0), one(90.0, 90.0, 20.0)], threshold=0.4)) == 2


def test_a_faster_track_is_one_line():
    pieces = [one(10.0 * i, 5.0 + 10.8 * i, 12.0, tempo=1.08) for i in range(6)]
    (joined,) = join_ranges(pieces, threshold=0.4)
    assert joined.tempo == pytest.approx(1.08, abs=0.01)


def test_the_weaker_track_at_one_place_is_an_alternative():
    entries = [
        TimelineEntry("a", one(0.0, 0.0, 60.0)),
        TimelineEntry("copy", one(2.0, 2.0, 50.0, 0.8)),
        TimelineEntry("b", one(50.0, 0.0, 60.0)),
    ]
    placed = place_entries(entries)
    assert [(entry.track_id, entry.alternatives) for entry in placed] == [
        ("a", ("copy",)),
        ("b", ()),
    ]
    assert overlap_share(one(0.0, 0.0, 60.0), one(50.0, 0.0, 60.0)) == pytest.approx(1 / 6)


def test_ranges_that_have_grown_together_are_one_entry():
    grown = [
        TimelineEntry("a", one(0.0, 0.0, 60.0), ("copy",)),
        TimelineEntry("a", one(60.0, 60.5, 40.0)),
        TimelineEntry("b", one(60.5, 60.5, 40.0)),
        TimelineEntry("a", one(100.0, 0.0, 40.0)),
    ]
    joined = rejoin_entries(grown)
    assert [(e.track_id, e.range.a_start_s, e.range.a_end_s) for e in joined] == [
        ("a", 0.0, 100.0),
        ("b", 60.5, 100.5),
        ("a", 100.0, 140.0),
    ]
    assert joined[0].alternatives == ("copy",)


def test_a_range_does_not_grow_into_its_own_track():
    given, grown = one(20.0, 120.0, 30.0), one(0.0, 100.0, 90.0)
    same = [one(0.0, 0.0, 15.0), given, one(55.0, 200.0, 20.0)]
    kept = grown_until_next(grown, given, same)
    assert (kept.a_start_s, kept.a_end_s) == (15.0, 55.0)
    assert (kept.b_start_s, kept.b_end_s) == (115.0, 155.0)
    assert grown_until_next(grown, given, [given]) == grown


def test_gaps_are_named():
    entries = [TimelineEntry("a", one(20.0, 0.0, 60.0)), TimelineEntry("b", one(85.0, 0.0, 60.0))]
    assert [(gap.start_s, gap.end_s) for gap in find_gaps(entries, 200.0)] == [
        (0.0, 20.0),
        (145.0, 200.0),
    ]
    assert [(gap.start_s, gap.end_s) for gap in find_gaps([], 30.0)] == [(0.0, 30.0)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A workspace of four tracks, and a mix: 15 s of noise, 35 s of two of them, crossfaded."""
    folder = tmp_path_factory.mktemp("mix")
    tracks = [synthesise_track(seed, duration_s=50.0) for seed in range(4)]
    (folder / "music").mkdir()
    for seed, waveform in enumerate(tracks):
        write_audio(folder / "music" / f"{seed}<b>.wav", waveform, codec="wav")
    first, second = tracks[1][5 * RATE_HZ : 40 * RATE_HZ], tracks[3][10 * RATE_HZ : 45 * RATE_HZ]
    ramp = np.linspace(0.0, 1.0, 5 * RATE_HZ, dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, 0.05, 15 * RATE_HZ).astype(np.float32)
    middle = first[-len(ramp) :] * (1 - ramp) + second[: len(ramp)] * ramp
    mix = np.concatenate([noise, first[: -len(ramp)], middle, second[len(ramp) :]])
    write_audio(folder / "mix.mp3", mix, codec="mp3")
    with open_workspace(folder / "ws", write=True) as workspace:
        scan(workspace, [folder / "music"])
        result = tracklist(workspace, folder / "mix.mp3", command="audit tracklist mix.mp3")
    return folder, result


def test_a_mix_is_a_timeline(mixed):
    _, result = mixed
    names = {track.id: track.path.rsplit("/", 1)[-1] for track in result.tracks}
    assert [names[entry.track] for entry in result.entries] == ["1<b>.wav", "3<b>.wav"]
    first, second = result.entries
    assert first.start_s == pytest.approx(15.0, abs=3.5)
    assert first.track_start_s - first.start_s == pytest.approx(5.0 - 15.0, abs=1.0)
    assert second.end_s == pytest.approx(80.0, abs=3.5)
    assert second.track_start_s - second.start_s == pytest.approx(10.0 - 45.0, abs=1.0)
    assert first.tempo == pytest.approx(1.0, abs=0.02)
    assert result.gaps[0].start_s == 0.0
    assert result.n_parts == n_parts(result.submissions[0].duration_s)
    assert result_from_json(to_json(result)) == result


def test_a_timeline_is_written_as_text_table_and_cue(mixed, tmp_path):
    _, result = mixed
    lines = timeline_lines(result)
    assert "no track of the catalogue" in lines[0]
    assert "1<b>.wav" in lines[1]
    rows = to_csv(result).splitlines()
    assert len(rows) == 3
    assert rows[0].startswith("number,start_s,end_s,track_start_s")
    cue = to_cue(result)
    assert 'FILE "mix.mp3" MP3' in cue
    assert cue.count("TRACK") == 2
    html, data = write_report(result, tmp_path / "mix.html")
    assert (tmp_path / "mix.cue").read_bytes().decode() == cue
    assert json.loads(data.read_text())["kind"] == "tracklist"
    page = html.read_text()
    assert "1&lt;b&gt;.wav" in page
    assert "<b>.wav" not in page
    assert page.count('class="bar r') == 2


def test_a_quotation_mark_does_not_end_a_title(mixed):
    _, result = mixed
    odd = dataclasses.replace(result.tracks[0], title='x"\r\n  TRACK 99', artist='"')
    changed = dataclasses.replace(result, tracks=(odd, *result.tracks[1:]))
    cue = to_cue(changed)
    assert "TRACK 99 AUDIO" not in cue
    assert all(line.count('"') in (0, 2) for line in cue.splitlines())
    assert "TRACK 99" in render_html(changed)


def test_a_mix_of_strangers_is_one_gap(mixed, tmp_path):
    folder, _ = mixed
    write_audio(tmp_path / "other.wav", synthesise_track(77, duration_s=40.0), codec="wav")
    with open_workspace(folder / "ws", write=False) as workspace:
        result = tracklist(workspace, tmp_path / "other.wav")
    assert result.entries == ()
    assert [(gap.start_s, gap.end_s) for gap in result.gaps] == [(0.0, 40.0)]
    assert timeline_lines(result) == ["    0:00–0:40     no track of the catalogue"]


def test_bad_mixes_are_named(mixed, tmp_path):
    folder, _ = mixed
    write_audio(tmp_path / "hush.wav", np.zeros(5 * RATE_HZ, np.float32), codec="wav")
    with open_workspace(folder / "ws", write=False) as workspace:
        with pytest.raises(UsageError, match="hush.wav cannot be used: is silent"):
            tracklist(workspace, tmp_path / "hush.wav")
        with pytest.raises(UsageError, match="holds 4 files. Give one file: a mix"):
            tracklist(workspace, folder / "music")
    with open_workspace(tmp_path / "empty", write=True) as workspace, pytest.raises(CatalogueError):
        tracklist(workspace, folder / "mix.mp3")
