"""Clips are the music they claim to be, within the limit, and links lead to the files."""

from __future__ import annotations

import base64
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.decode import decode
from auditor.audio.encode import write_audio
from auditor.audio.isolated import load_waveform
from auditor.errors import CatalogueError
from auditor.records import (
    CheckResult,
    CompositionMatch,
    Compositions,
    Evidence,
    MatchedRange,
    Pair,
    Provenance,
    ScanResult,
    ThresholdUse,
    Track,
)
from auditor.report.media.build import (
    BEYOND,
    MAX_COMPOSITIONS,
    MAX_PAIRS,
    MAX_REPORT_BYTES,
    NO_AUDIO,
    NO_RANGE,
    SOME_RANGES,
    _clip_length_s,
    link_to,
    make_media,
)
from auditor.report.media.clips import CLIP_RATE_HZ, MAX_CLIP_S, N_PEAKS, clip_spans
from auditor.report.media.matrix_png import MAX_SIDE, grey_png, similarity_pixels
from auditor.report.media.model import Media, media_from_json, media_to_json

HOP_S, WINDOW_S = 0.8, 3.2


def track(name: str, *, duration_s: float = 30.0) -> Track:
    return Track(
        *(name, f"/music/{name}.wav", "0" * 64, 1000, duration_s, duration_s, False, False),
        *("pcm_s16le", "wav", SAMPLE_RATE_HZ, 1, 256_000),
    )


def matched(a_s: float, b_s: float, length_s: float, *, tempo: float = 1.0) -> MatchedRange:
    ends_s = (a_s + length_s, b_s, b_s + length_s * tempo)
    return MatchedRange(a_s, *ends_s, tempo, 0.9, None, 0.0)


def pair(a: str, b: str, *ranges: MatchedRange, **fields: object) -> Pair:
    evidence = Evidence(0.9, ranges, 0.5, 0.5, 1.0, 0.3) if ranges else None
    return Pair(a, b, 0.9, pair_id=f"{a}-{b}", evidence=evidence, **fields)


def scan(tracks: list[Track], *pairs: Pair) -> ScanResult:
    return ScanResult(
        *(tuple(tracks), pairs, (), (), len(tracks), 1, "exact", None, {}),
        ThresholdUse(0.8, "hand"),
        Provenance("1", "scan", "", "", "", ""),
    )


def media_of(result: ScanResult | CheckResult, paths: dict, folder: Path, **how) -> Media:
    how = {"dvectors": None, "hop_s": HOP_S, "window_s": WINDOW_S} | how
    media = make_media(result, paths=paths, folder=folder, **how)
    assert media_from_json(media_to_json(media)) == media
    return media


def likeness(heard: np.ndarray, source: np.ndarray) -> float:
    """Return the highest normalised correlation within 20 ms either way."""
    n = min(len(heard), len(source))
    spectrum = np.fft.rfft(heard[:n], 2 * n) * np.conj(np.fft.rfft(source[:n], 2 * n))
    near = np.fft.irfft(spectrum)[np.r_[-320:320]]
    return float(near.max() / np.linalg.norm(heard[:n]) / np.linalg.norm(source[:n]))


def grey_pixels(png: bytes) -> np.ndarray:
    """Read a 4-bit greyscale PNG back, checking every sum."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(png):
        n, kind = struct.unpack(">I4s", png[at : at + 8])
        data, (crc,) = png[at + 8 : at + 8 + n], struct.unpack(">I", png[at + 8 + n : at + 12 + n])
        assert zlib.crc32(kind + data) == crc
        chunks[kind] = data
        at += 12 + n
    n_columns, n_rows, *layout = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert layout == [4, 0, 0, 0, 0] and b"IEND" in chunks
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(n_rows, -1)
    assert not lines[:, 0].any()
    return np.stack([lines[:, 1:] >> 4, lines[:, 1:] & 15], axis=2).reshape(n_rows, -1)[
        :, :n_columns
    ]


@pytest.fixture(scope="module")
def planted(tmp_path_factory, make_tune) -> dict[str, bytes]:
    """Return two files: 5 to 29 s of the one are 11 to 35 s of the other."""
    folder = tmp_path_factory.mktemp("planted")
    a, b = make_tune(1, duration_s=30.0), make_tune(2, duration_s=40.0)
    b[11 * SAMPLE_RATE_HZ : 35 * SAMPLE_RATE_HZ] = a[5 * SAMPLE_RATE_HZ : 29 * SAMPLE_RATE_HZ]
    write_audio(folder / "a.flac", a, codec="flac")
    write_audio(folder / "b.flac", b, codec="flac")
    return {name: os.fsencode(folder / f"{name}.flac") for name in ("a", "b")}


TRACKS = [track("a"), track("b", duration_s=40.0)]


def test_clips_hold_the_matched_music_of_both_tracks(planted, tmp_path):
    result = scan(TRACKS, pair("a", "b", matched(5.0, 11.0, 24.0), matched(6.0, 12.0, 4.0)))
    clips = media_of(result, planted, tmp_path).pairs[0].clips
    assert [(clip.range, clip.side) for clip in clips] == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]
    spans = [(clip.start_s, clip.end_s) for clip in clips]
    assert spans == [(5.0, 29.0), (11.0, 35.0), (6.0, 10.0), (12.0, 16.0)]
    heard = [decode(base64.b64decode(clip.audio)) for clip in clips]
    for clip, waveform in zip(clips, heard, strict=True):
        source = load_waveform(
            planted[clip.side], start_s=clip.start_s, duration_s=clip.end_s - clip.start_s
        )
        assert len(waveform) == pytest.approx(len(source), abs=400)
        assert likeness(waveform, source) > 0.95
    assert likeness(heard[0], heard[1]) > 0.95
    elsewhere = load_waveform(planted["b"], start_s=1.0, duration_s=10.0)
    assert likeness(heard[0][: len(elsewhere)], elsewhere) < 0.5


def test_ranges_are_heard_whole_where_the_limit_allows_it_and_else_their_middle(planted, tmp_path):
    result = scan(TRACKS, pair("a", "b", matched(5.0, 11.0, 24.0)))
    for max_bytes, expected in (
        (25_000_000, [(5.0, 29.0), (11.0, 35.0)]),
        (500_000, [(7.0, 27.0), (13.0, 33.0)]),
        (300_000, [(12.0, 22.0), (18.0, 28.0)]),
        (200_000, [(12.0, 22.0), (18.0, 28.0)]),
    ):
        (media,) = media_of(result, planted, tmp_path, max_bytes=max_bytes).pairs
        assert [(clip.start_s, clip.end_s) for clip in media.clips] == expected
    long = [pair(f"a{i}", f"b{i}", matched(0.0, 0.0, 500.0)) for i in range(40)]
    assert _clip_length_s(long[:1], MAX_REPORT_BYTES) == 120.0
    assert _clip_length_s(long, MAX_REPORT_BYTES) == 20.0
    assert _clip_length_s(long * 50, MAX_REPORT_BYTES) == MAX_CLIP_S


def test_the_clip_of_b_holds_the_same_music_at_its_tempo():
    (a_start, a_n), (b_start, b_n) = clip_spans(matched(10.0, 20.0, 30.0, tempo=1.2))
    assert (a_start, a_n) == (20 * CLIP_RATE_HZ, 10 * CLIP_RATE_HZ)
    assert (b_start, b_n) == (32 * CLIP_RATE_HZ, 12 * CLIP_RATE_HZ)
    (_, a_n), (_, b_n) = clip_spans(matched(0.0, 0.0, 30.0, tempo=2.0))
    assert b_n == 13 * CLIP_RATE_HZ and a_n == b_n / 2
    assert clip_spans(matched(0.0, 0.0, 5.0, tempo=1e9))[1] == (0, 5 * CLIP_RATE_HZ)
    assert clip_spans(matched(-0.5, 0.0, 0.0))[0] == (0, CLIP_RATE_HZ // 2)


def piece(*times_s: float, **fields: object) -> CompositionMatch:
    values = {
        **dict(zip(("a_start_s", "a_end_s", "b_start_s", "b_end_s"), times_s, strict=True)),
        **{"a": "a", "b": "b", "score": 0.5, "verdict": "same composition", "flagged": True},
        **dict.fromkeys(("far", "expected_by_chance", "chance_share"), None),
        **dict.fromkeys(("chance_share_low", "chance_share_high"), None),
        **{"transposition": 0, "tempo": 1.0, "melody": 0.9, "harmony": 0.9},
    }
    return CompositionMatch(**{**values, **fields})  # type: ignore[arg-type]


def with_pieces(result: ScanResult, *pieces: CompositionMatch) -> ScanResult:
    return replace(result, compositions=Compositions(pieces, 0.1, 1, 1, "0a1b2c3d"))


def test_the_passage_of_a_composition_can_be_heard_beside_the_ranges(planted, tmp_path):
    recordings = scan(TRACKS, pair("a", "b", matched(6.0, 12.0, 4.0)))
    result = with_pieces(recordings, piece(5.0, 29.0, 11.0, 35.0))
    media = media_of(result, planted, tmp_path)
    assert [clip.start_s for clip in media.pairs[0].clips] == [6.0, 12.0]
    (line,) = media.compositions
    spans = [(clip.side, clip.start_s, clip.end_s) for clip in line.clips]
    assert spans == [("a", 7.0, 27.0), ("b", 13.0, 33.0)]  # 20 s from the middle
    heard = [decode(base64.b64decode(clip.audio)) for clip in line.clips]
    assert likeness(heard[0], heard[1]) > 0.95
    assert not line.matrix and not line.lacking


def test_clips_of_a_composition_follow_its_passages_and_not_its_local_tempo(planted, tmp_path):
    result = with_pieces(scan(TRACKS), piece(0.0, 10.0, 20.0, 32.0, tempo=0.9))
    clips = media_of(result, planted, tmp_path).compositions[0].clips
    assert [(clip.start_s, clip.end_s) for clip in clips] == [(0.0, 10.0), (20.0, 32.0)]


def test_compositions_come_after_the_recordings_and_their_number_is_bound(planted, tmp_path):
    many = [piece(0.0, 1.0, 0.0, 1.0, score=0.5 - k / 1000) for k in range(MAX_COMPOSITIONS + 3)]
    result = with_pieces(scan(TRACKS, pair("a", "b", matched(5.0, 11.0, 4.0))), *many)
    assert len(media_of(result, planted, tmp_path).compositions) == MAX_COMPOSITIONS
    media = media_of(result, planted, tmp_path, max_bytes=150_000)
    assert media.pairs[0].clips
    assert "--max-report-size" in media.compositions[-1].lacking
    assert media_of(result, planted, tmp_path, audio=False).compositions[0].lacking == NO_AUDIO


def test_media_of_an_older_version_are_read():
    text = media_to_json(Media())
    older = text.replace(',\n "compositions": []', "")
    assert older != text
    assert media_from_json(older) == Media()


def test_at_most_three_ranges_get_clips(planted, tmp_path):
    result = scan(TRACKS, pair("a", "b", *(matched(5.0 + i, 11.0 + i, 2.0) for i in range(5))))
    (media,) = media_of(result, planted, tmp_path).pairs
    assert [clip.range for clip in media.clips] == [0, 0, 1, 1, 2, 2]
    assert media.lacking == SOME_RANGES


def test_the_same_files_give_the_same_media(planted, tmp_path):
    result = scan(TRACKS, pair("a", "b", matched(5.0, 11.0, 4.0)))
    first, second = (media_to_json(media_of(result, planted, tmp_path)) for _ in range(2))
    assert first == second and '"audio": "T2dn' in first


def test_a_waveform_follows_the_level_of_its_track(tmp_path):
    steps = np.repeat([0.0, 0.25, 0.5, 1.0], 5 * SAMPLE_RATE_HZ).astype(np.float32)
    write_audio(tmp_path / "steps.flac", steps, codec="flac")
    paths = {name: os.fsencode(tmp_path / "steps.flac") for name in ("just", "longer", "shorter")}
    tracks = [
        track("just", duration_s=20.0),
        track("longer", duration_s=40.0),
        track("shorter", duration_s=10.0),
    ]
    pairs = (pair("just", "longer"), pair("longer", "shorter"))
    peaks = {t.id: t.peaks for t in media_of(scan(tracks, *pairs), paths, tmp_path).tracks}
    assert {len(of_track) for of_track in peaks.values()} == {N_PEAKS}
    middles = slice(50, None, 100)
    assert peaks["just"][middles] == pytest.approx((0, 25, 50, 100), abs=1)
    assert peaks["longer"][25::50] == pytest.approx((0, 25, 50, 100, 0, 0, 0, 0), abs=1)
    assert peaks["shorter"][middles] == pytest.approx((0, 0, 25, 25), abs=1)
    assert peaks["just"].index(100) == pytest.approx(300, abs=1)


def test_a_track_shorter_than_its_stretches_has_a_waveform(tmp_path):
    write_audio(tmp_path / "t.wav", np.full(100, 0.5, dtype=np.float32), codec="wav")
    paths = dict.fromkeys("ab", os.fsencode(tmp_path / "t.wav"))
    tracks = [track("a", duration_s=100 / SAMPLE_RATE_HZ), track("b", duration_s=0.0)]
    media = media_of(scan(tracks, pair("a", "b")), paths, tmp_path)
    assert len(media.tracks[0].peaks) == N_PEAKS and max(media.tracks[0].peaks) >= 49
    assert media.tracks[1].peaks == () and media.notes == ()


def test_files_that_cannot_be_read_are_counted_and_left_out(planted, tmp_path, write_tune):
    short = write_tune("short.wav", 5, duration_s=7.0)
    (tmp_path / "junk.mp3").write_bytes(b"junk" * 100)
    paths = planted | {
        "gone": os.fsencode(tmp_path / "gone.mp3"),
        "junk": os.fsencode(tmp_path / "junk.mp3"),
        "short": os.fsencode(short),
    }
    names = ("gone", "junk", "absent", "short")
    pairs = [pair("a", name, matched(5.0, 5.0, 4.0), matched(9.0, 9.0, 4.0)) for name in names]
    media = media_of(scan([*TRACKS, *map(track, names)], *pairs), paths, tmp_path)
    assert media.notes == ("4 files are missing, damaged or truncated: no clips or waveform",)
    sides = {of.b: "".join(clip.side for clip in of.clips) for of in media.pairs}
    assert sides == {"gone": "aa", "junk": "aa", "absent": "aa", "short": "aba"}
    assert {of.lacking for of in media.pairs} == {
        "Some or all clips of B are missing: the file was not found or could not be decoded."
    }
    assert media.by_pair()["a", "short"].clips[1].end_s == pytest.approx(7.0, abs=0.01)
    assert [t.id for t in media.tracks if t.peaks] == ["a", "short"]
    assert {t.id: t.link for t in media.tracks}["junk"] == "./junk.mp3"
    assert "gone" not in media.by_track() and "absent" not in media.by_track()


def test_the_limit_is_spent_on_the_first_pairs(planted, tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    tracks = [TRACKS[0], *(track(f"b{i}", duration_s=40.0) for i in range(6))]
    paths = {"a": planted["a"]} | {f"b{i}": planted["b"] for i in range(6)}
    pairs = [pair("a", f"b{i}", matched(5.0 + i, 11.0 + i, 5.0)) for i in range(6)]
    how = {"dvectors": lambda _: (vectors.astype(np.float16), np.zeros(40, dtype=np.float16))}

    def size(media: Media) -> int:
        peaks = sum(len(str(list(t.peaks))) for t in media.tracks if t.peaks)
        clips = sum(len(clip.audio) for of_pair in media.pairs for clip in of_pair.clips)
        return peaks + clips + sum(len(of_pair.matrix) for of_pair in media.pairs)

    whole = media_of(scan(tracks, *pairs), paths, tmp_path, **how)
    assert {of.lacking for of in whole.pairs} == {""}
    assert whole.notes == () and [len(of.clips) for of in whole.pairs] == [2] * 6
    for limit in (0, 3_000, 30_000, size(whole) // 2, size(whole) * 3 // 4):
        media = media_of(scan(tracks, *pairs), paths, tmp_path, max_bytes=limit, **how)
        assert size(media) <= limit
        with_clips = [of.b for of in media.pairs if of.clips]
        assert with_clips == [f"b{i}" for i in range(len(with_clips))]
        said = f"No clips: the report is limited to {limit / 1e6:.3g} MB (--max-report-size)."
        assert all(of.lacking == ("" if of.clips else said) for of in media.pairs)
        n_without = 6 - len(with_clips)
        assert media.notes[0] == (
            f"{n_without} pairs have no clips: the report is limited to {limit / 1e6:.3g} MB "
            "(--max-report-size)"
        )
        if limit > 100_000:
            assert len(with_clips) >= 2
    assert "7 tracks have no waveform" in " ".join(
        media_of(scan(tracks, *pairs), paths, tmp_path, max_bytes=0).notes
    )


def test_flagged_pairs_come_first_then_decided_then_those_with_evidence(tmp_path):
    names = "abcdefgh"
    pairs = (
        pair("a", "b", matched(0.0, 0.0, 5.0), flagged=False),
        pair("c", "d", flagged=False),
        pair("e", "f", flagged=False, decision="licensed"),
        pair("g", "h"),
    )
    one = np.ones((3, 1), dtype=np.float16)
    seen = []
    media = media_of(
        scan([track(name) for name in names], *pairs),
        {},
        tmp_path,
        dvectors=lambda _: (one, np.zeros(3)),
        on_pair=lambda done, of: seen.append((done, of)),
    )
    assert [of_pair.a + of_pair.b for of_pair in media.pairs] == ["gh", "ef", "ab"]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_files_of_the_same_bytes_have_clips_waveforms_and_links_of_their_own(planted, tmp_path):
    again = tmp_path / "z.flac"  # its id comes after b, so that the pair stands the other way round
    again.write_bytes(Path(os.fsdecode(planted["a"])).read_bytes())
    paths = planted | {"z": os.fsencode(again)}
    first = pair("a", "b", matched(5.0, 11.0, 4.0))
    turned = replace(pair("b", "z", matched(11.0, 5.0, 4.0)), pair_id=first.pair_id)
    media = media_of(scan([*TRACKS, track("z")], first, turned), paths, tmp_path)
    one, other = (media.by_pair()[ends].clips for ends in (("a", "b"), ("b", "z")))
    assert [(clip.side, clip.start_s) for clip in one] == [("a", 5.0), ("b", 11.0)]
    assert [(clip.side, clip.start_s) for clip in other] == [("a", 11.0), ("b", 5.0)]
    assert [clip.audio for clip in one] == [clip.audio for clip in reversed(other)]
    links = {of_track.id: of_track.link for of_track in media.tracks}
    assert links["z"] == "./z.flac" and links["a"] != links["z"]
    assert all(of_track.peaks for of_track in media.tracks)


def test_only_so_many_pairs_get_media(tmp_path):
    pairs = [pair("a", f"b{i}") for i in range(MAX_PAIRS + 7)]
    one = (np.ones((3, 1), dtype=np.float16), np.zeros(3))
    media = media_of(scan(TRACKS, *pairs), {}, tmp_path, dvectors=lambda _: one)
    assert sum(bool(of_pair.matrix) for of_pair in media.pairs) == MAX_PAIRS
    assert [of_pair.lacking for of_pair in media.pairs[MAX_PAIRS:]] == [BEYOND] * 7
    assert f"7 further pairs have no clips: the limit is {MAX_PAIRS} pairs" in media.notes


def test_sound_and_matrices_can_be_left_out(planted, tmp_path):
    one = (np.ones((3, 1), dtype=np.float16), np.zeros(3))
    result = scan(TRACKS, pair("a", "b", matched(5.0, 11.0, 2.0)))
    media = media_of(result, planted, tmp_path, dvectors=lambda _: one, audio=False)
    assert media.pairs[0].matrix and not media.pairs[0].clips and media.tracks[0].peaks
    assert media.pairs[0].lacking == NO_AUDIO
    media = media_of(result, planted, tmp_path, dvectors=lambda _: one, matrices=False)
    assert media.pairs[0].clips and not media.pairs[0].matrix
    alike = scan(TRACKS, pair("a", "b", identical_file=True))
    (bare,) = media_of(alike, {}, tmp_path, dvectors=lambda _: one).pairs
    assert (bare.matrix, bare.lacking) == ("", NO_RANGE)


def test_submissions_of_a_check_get_media(planted, tmp_path):
    result = CheckResult(
        *((track("new-1"),), (TRACKS[1],), (pair("new-1", "b", matched(5.0, 11.0, 2.0)),)),
        *((), 1, 1, "exact", None, ThresholdUse(0.8, "hand")),
        Provenance("1", "check", "", "", "", ""),
    )
    paths = {"new-1": planted["a"], "b": planted["b"]}
    media = media_of(result, paths, tmp_path)
    assert media.notes == () and len(media.pairs[0].clips) == 2
    assert all(of_track.peaks and of_track.link for of_track in media.tracks)


@pytest.mark.parametrize(
    "name",
    [
        *(b"100% #1?.mp3", b"a:b.mp3", b"-rf.mp3", b"two\nlines.mp3", b"bad\xff\xfe.mp3"),
        *(b"\"'<b>&amp;.mp3", b"javascript:alert(1).mp3", "naïve ♫.mp3".encode(), b"back\\slash"),
        *(b"%2e%2e.mp3", b" space .mp3", b"...mp3"),
    ],
)
def test_links_lead_to_files_of_any_name(tmp_path, name):
    file = os.fsencode(tmp_path) + b"/music/" + name
    os.mkdir(tmp_path / "music")
    with open(file, "wb") as opened:
        opened.write(b"here")
    tracks = scan([track("a"), track("b")], pair("a", "b"))
    for folder in (tmp_path / "music", tmp_path, tmp_path / "reports" / "new"):
        folder.mkdir(parents=True, exist_ok=True)
        media = media_of(tracks, {"a": file}, folder)  # the record refuses what is no relative URL
        link = media.by_track()["a"].link
        assert link.startswith(("./", "../")) and link.isascii() and ":" not in link
        target = os.path.join(os.fsencode(folder), unquote_to_bytes(link))
        assert os.path.samefile(target, file)


def test_links_go_up_only_as_far_as_the_files_do():
    assert link_to(b"/music/a.mp3", Path("/music")) == "./a.mp3"
    assert link_to(b"//music/a.mp3", Path("/music/reports")) == "../a.mp3"
    assert link_to(b"/music/..a.mp3", Path("/music")) == "./..a.mp3"


def test_the_matrix_shows_a_dark_line_where_the_tracks_agree(tmp_path):
    rng = np.random.default_rng(3)
    a = rng.normal(size=(60, 64))
    b = rng.normal(size=(90, 64))
    b[25:65] = a[10:50]
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    levels = {"a": np.full(60, -20.0), "b": np.full(90, -20.0)}
    levels["a"][:5] = -120.0
    vectors = {"a": a.astype(np.float16), "b": b.astype(np.float16)}
    media = media_of(
        scan(TRACKS, pair("a", "b")), {}, tmp_path, dvectors=lambda i: (vectors[i], levels[i])
    ).pairs[0]
    assert media.matrix_a_s == pytest.approx(59 * HOP_S + WINDOW_S)
    assert media.matrix_b_s == pytest.approx(89 * HOP_S + WINDOW_S)
    pixels = grey_pixels(base64.b64decode(media.matrix))
    assert pixels.shape == (63, 93)  # one for each hop of the time that is spanned
    n_rows, n_columns = pixels.shape  # a window is centred 1.6 s from its start
    for window in range(10, 50):
        row = int((window * HOP_S + 1.7) / media.matrix_a_s * n_rows)
        column = int(((window + 15) * HOP_S + 1.7) / media.matrix_b_s * n_columns)
        assert pixels[row, column] == 0
    assert np.count_nonzero(pixels == 0) == 40
    assert np.median(pixels) >= 13
    assert (pixels[:6] == 15).all()


def test_pixels_of_a_matrix_are_pooled_so_that_no_line_is_lost():
    rng = np.random.default_rng(4)
    a = rng.normal(size=(20_000, 32)).astype(np.float32)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = a[4_000:12_000]
    pixels = similarity_pixels(a, b, hop_s=HOP_S, window_s=WINDOW_S)
    assert MAX_SIDE - 10 <= pixels.shape[0] <= MAX_SIDE
    assert MAX_SIDE - 10 <= pixels.shape[1] <= MAX_SIDE
    scale = pixels.shape[0] / 20_000
    for column in range(pixels.shape[1]):
        row = (4_000 + (column + 0.5) / pixels.shape[1] * 8_000) * scale
        assert pixels[max(0, int(row) - 1) : int(row) + 2, column].min() == 0
    assert np.count_nonzero(pixels == 0) < 4 * pixels.shape[1]


def test_a_single_window_and_odd_sides_give_a_picture():
    one = np.ones((1, 1), dtype=np.float16)
    pixels = similarity_pixels(one, np.zeros((2, 1)), hop_s=1.0, window_s=1.0)
    assert pixels.tolist() == [[15, 15]]
    assert grey_pixels(grey_png(pixels[:, :1])).tolist() == [[15]]
    with pytest.raises(ValueError, match=r"shapes \(1, 1\) and \(1, 2\)"):
        similarity_pixels(one, np.ones((1, 2)), hop_s=1.0, window_s=1.0)
    with pytest.raises(ValueError, match="both must be above 0"):
        similarity_pixels(one, one, hop_s=0.0, window_s=1.0)
    with pytest.raises(ValueError, match="rows and columns of uint8"):
        grey_png(np.full((2, 2), 16, dtype=np.uint8))


def test_other_programs_read_the_pictures(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(5).integers(0, 16, size=(7, 9)).astype(np.uint8)
    (tmp_path / "p.png").write_bytes(grey_png(pixels))
    with image.open(tmp_path / "p.png") as opened:
        assert np.array_equal(np.asarray(opened.convert("L")), pixels * 17)


def test_missing_windows_are_noted(tmp_path):
    def nothing(_: str) -> tuple[np.ndarray, np.ndarray]:
        raise CatalogueError("no d-vectors")

    media = media_of(scan(TRACKS, pair("a", "b")), {}, tmp_path, dvectors=nothing)
    assert "1 pair has no similarity matrix: d-vectors are missing" in media.notes
    none = (np.zeros((0, 4), dtype=np.float16), np.zeros(0))
    media = media_of(scan(TRACKS, pair("a", "b")), {}, tmp_path, dvectors=lambda _: none)
    assert not media.pairs[0].matrix


def test_limits_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(ValueError, match="max_bytes is -1"):
        media_of(scan(TRACKS), {}, tmp_path, max_bytes=-1)
    with pytest.raises(ValueError, match="hop_s 0.0"):
        media_of(scan(TRACKS), {}, tmp_path, hop_s=0.0)
