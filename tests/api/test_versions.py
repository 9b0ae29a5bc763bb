"""Versions of a track by the composition match, with a stand-in that hears pure tones exactly."""

from __future__ import annotations

import numpy as np
import pytest
from small_audit import calibrate_by_hand, ids_by_name, save_small_extractor
from typer.testing import CliRunner

import auditor.embedding.salience
from auditor.api.compositions import versions_of
from auditor.api.recommend import Query, recommend
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.encode import write_audio
from auditor.cli import app
from auditor.errors import CatalogueError, UsageError
from auditor.records import result_from_json, to_json
from auditor.workspace import open_workspace

NOTE_S = 0.768
"""Two rows of pitches."""

LOWEST_HZ, BANDS_PER_SEMITONE, LOWEST_MIDI = 220.0, 2, 57


class ToneModel:
    """Hears the strongest band of each row as the melody: right for pure tones."""

    id = "70e5abcd"

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.cohort = tuple(_rows(np.repeat(rng.integers(60, 84, 60), 2)) for _ in range(8))

    def pitches(self, spectrum: np.ndarray) -> np.ndarray:
        n = len(spectrum) // 4
        bands = spectrum[: 4 * n].reshape(n, 4, -1).astype(float).mean(1)
        pitch = LOWEST_MIDI + np.rint(bands.argmax(1) / BANDS_PER_SEMITONE).astype(int)
        loud = bands.max(1) > bands.max() - 30.0
        return _rows(np.where(loud, pitch, 0))

    def summaries(self, rows: np.ndarray) -> np.ndarray:
        profile = rows[:, :12].sum(0).astype(np.float32) + 1.0
        return (profile / np.linalg.norm(profile))[None].astype(np.float16)


def _rows(pitch: np.ndarray) -> np.ndarray:
    rows = np.zeros((len(pitch), 37), np.uint8)
    heard = np.flatnonzero(pitch)
    for block in (0, 12, 24):
        rows[heard, block + pitch[heard] % 12] = 255
    rows[:, 36] = pitch
    return rows


def melody(seed: int) -> np.ndarray:
    """Return the MIDI pitches of a tune of 60 notes in a scale."""
    rng = np.random.default_rng(seed)
    scale = np.array([0, 2, 4, 5, 7, 9, 11])
    place = np.clip(np.cumsum(rng.integers(-2, 3, 60)) + 7, 0, 13)
    return 66 + scale[place % 7] + 12 * (place // 7)


def play(notes: np.ndarray, *, harmonics: int = 1) -> np.ndarray:
    """Return notes as tones with overtones, float32."""
    t = np.arange(round(NOTE_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    fade = np.minimum(1.0, np.minimum(t, t[::-1]) / 0.02)
    tones = []
    for note in notes:
        hz = 440.0 * 2.0 ** ((note - 69) / 12)
        tone = sum(np.sin(2 * np.pi * hz * k * t) / (3 * k) for k in range(1, harmonics + 1))
        tones.append(0.5 * fade * tone)
    return np.concatenate(tones).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    patch = pytest.MonkeyPatch()
    tones = ToneModel()
    patch.setattr(auditor.embedding.salience, "load_pitch_model", lambda path=None: tones)
    yield tones
    patch.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    """Return a workspace of a tune, a version of it three semitones up, and unrelated music."""
    folder = tmp_path_factory.mktemp("versions")
    music = folder / "music"
    music.mkdir()
    tune = melody(1)
    takes = {
        "tune.wav": play(tune),
        "version.wav": play(tune[5:] + 3, harmonics=3),
        "other.wav": play(melody(2)),
        "third.wav": play(melody(3)),
        "drone.wav": play(np.full(40, 69)),
    }
    for name, samples in takes.items():
        write_audio(music / name, samples, codec="wav")
    weights = save_small_extractor(folder)
    with open_workspace(folder / "ws", extractor=weights, write=True) as opened:
        calibrate_by_hand(folder / "ws", opened.weights_id)
        scan(opened, [music], options=Options(threshold=0.99))
    return folder


@pytest.fixture
def opened(folder):
    weights = next(folder.glob("*.safetensors"))
    with open_workspace(folder / "ws", extractor=weights, write=False) as workspace:
        yield workspace


def test_the_version_comes_first_with_its_key(opened):
    ids = ids_by_name(opened.catalogue)
    found = versions_of(opened, ids["tune.wav"])
    first = found.matches[0]
    assert (first.a, first.b) == (ids["tune.wav"], ids["version.wav"])
    assert first.transposition == -3
    assert first.verdict == "same composition"
    assert first.pair_id
    assert all(first.score > other.score for other in found.matches[1:])
    assert len(first.melody_a) == len(first.melody_b) > 60


def test_an_answer_has_a_line_for_each_track(opened):
    ids = ids_by_name(opened.catalogue)
    query = Query(of=ids["tune.wav"], versions=True, top=1, copies=True)
    result = recommend(opened, query)
    assert [answer.track.id for answer in result.recommendations] == [ids["version.wav"]]
    assert result.compositions is not None
    assert [match.b for match in result.compositions.matches] == [ids["version.wav"]]
    assert result_from_json(to_json(result)) == result


def test_what_is_to_be_left_out_is_not_listed(opened):
    ids = ids_by_name(opened.catalogue)
    found = versions_of(opened, ids["tune.wav"], leave_out={ids["version.wav"]})
    assert ids["version.wav"] not in {match.b for match in found.matches}


def test_a_track_without_melody_is_refused(opened):
    ids = ids_by_name(opened.catalogue)
    with pytest.raises(UsageError, match="no composition to compare: .* hardly changes"):
        versions_of(opened, ids["drone.wav"])


def test_versions_start_from_one_track_of_the_catalogue(opened, folder):
    for query in (
        Query(versions=True, like=("x",)),
        Query(of="x", like=("y",), versions=True),
        Query(of="x", farthest=True, versions=True),
    ):
        with pytest.raises(UsageError, match="starts from one track"):
            recommend(opened, query)
    with pytest.raises(CatalogueError, match="no track has the id"):
        recommend(opened, Query(of="nothing", versions=True))
    outside = folder / "outside.wav"
    write_audio(outside, play(melody(9)), codec="wav")
    with pytest.raises(UsageError, match="is not in the catalogue"):
        recommend(opened, Query(of=str(outside), versions=True))


def test_the_command_prints_what_is_shared(folder, opened):
    ids = ids_by_name(opened.catalogue)
    weights = next(folder.glob("*.safetensors"))
    arguments = ["recommend", "--versions", ids["tune.wav"], "--copies", "--top", "1"]
    arguments += ["--workspace", str(folder / "ws"), "--extractor", str(weights)]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.output
    assert "1 track may be the same composition among 5 tracks" in run.output
    assert "What is shared" in run.output
    assert "−3 semitones" in run.output
