"""What outputs repeat as compositions: versions of training tunes, beyond held-out ones."""

from __future__ import annotations

import os

import pytest
from melodies import random_tune, sound_of

from auditor.api.generated import GeneratedOptions, find_repeats
from auditor.api.run import Options
from auditor.audio.encode import write_audio
from auditor.records import GeneratedResult, result_from_json, to_json
from auditor.report.html.page import render_html
from auditor.workspace import open_workspace

ORGAN = (1.0, 0.6, 0.4, 0.3, 0.2)
FLUTE = (1.0, 0.15, 0.05)
VERSION = {"overtones": FLUTE, "transposition": 4, "tempo": 1.2, "decay_s": 0.3}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> GeneratedResult:
    """Outputs: versions of training tune 1 and of tune 2, which is on both sides; and tune 9."""
    folder = tmp_path_factory.mktemp("tunes")
    for name, seed, how in (
        *(("training/1.wav", 1, {"overtones": ORGAN}), ("training/2.wav", 2, {"overtones": ORGAN})),
        *(("heldout/4.wav", 4, {"overtones": ORGAN}), ("heldout/2.wav", 2, VERSION)),
        ("outputs/of-1.wav", 1, VERSION),
        ("outputs/of-2.wav", 2, VERSION | {"transposition": -2, "tempo": 0.9}),
        ("outputs/own.wav", 9, VERSION),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        write_audio(folder / name, sound_of(random_tune(seed, 50), **how), codec="wav")
    with open_workspace(folder / "ws", write=True) as workspace:
        return find_repeats(
            workspace,
            *(folder / name for name in ("outputs", "training", "heldout")),
            options=Options(compositions=True, threshold=1.0),  # no recording matches
            counting=GeneratedOptions(power=False),
        )


def test_versions_of_training_tunes_are_listed(found):
    name_of = {track.id: os.path.basename(track.path) for track in found.tracks}
    lines = [(name_of[m.a], name_of[m.b]) for m in found.compositions.matches]
    assert set(lines) == {("of-1.wav", "1.wav"), ("of-2.wav", "2.wav")}
    assert all(m.flagged and m.verdict == "same composition" for m in found.compositions.matches)


def test_a_piece_on_both_sides_counts_on_neither(found):
    first = next(one for one in found.excess if one.what == "composition")
    assert (first.min_s, first.n_training, first.n_heldout) == (10.0, 1, 0)
    assert any("As compositions, whatever the recording: of 3 outputs" in n for n in found.notes)
    assert all(one.n_training == 0 for one in found.excess if one.what == "recording")
    assert result_from_json(to_json(found)) == found
    assert "composition, 10 s or more" in render_html(found)
