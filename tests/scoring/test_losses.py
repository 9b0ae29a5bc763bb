"""What encoders took from tracks is read from their files once, and kept by content."""

from __future__ import annotations

import json

from small_audit import write_tune

from auditor.audio.losses import Losses
from auditor.ingest.session import ingest
from auditor.scoring import losses as module
from auditor.scoring.losses import FILE, LossReader
from auditor.workspace import open_workspace


def test_losses_are_measured_once_and_kept(tmp_path, tiny_weights, monkeypatch):
    music, folder = tmp_path / "music", tmp_path / "ws"
    music.mkdir()
    for name in ("a.wav", "b.mp3", "c.wav"):
        write_tune(music / name, 1)
    with open_workspace(folder, extractor=tiny_weights, write=True) as workspace:
        ingest(workspace, [music])
        tracks = workspace.catalogue.tracks()
        found = LossReader(workspace)(tracks)
    assert all(isinstance(one, Losses) for one in found)
    assert all(0.0 < one.band_hz <= 8000.0 and 0.0 <= one.hole_share < 1.0 for one in found)
    stored = json.loads((folder / FILE).read_text())["losses"]
    assert stored.keys() == {track.sha256 for track in tracks}

    def read(*_args, **_kwargs):
        raise AssertionError("a file was read again")

    monkeypatch.setattr(module, "load_waveform", read)
    with open_workspace(folder, extractor=tiny_weights) as workspace:
        assert LossReader(workspace)(tracks) == found


def test_what_is_gone_or_damaged_is_not_known(tmp_path, tiny_weights):
    music, folder = tmp_path / "music", tmp_path / "ws"
    music.mkdir()
    write_tune(music / "a.wav", 1)
    with open_workspace(folder, extractor=tiny_weights, write=True) as workspace:
        ingest(workspace, [music])
        (music / "a.wav").unlink()
        for text in ("{", "[]", '{"format": "audit-losses/1", "losses": {"x": {"band_hz": "1"}}}'):
            (folder / FILE).parent.mkdir(exist_ok=True)
            (folder / FILE).write_text(text)
            assert LossReader(workspace)(workspace.catalogue.tracks()) == [None]
