"""What a worker does as the operator's options say."""

from __future__ import annotations

import io
import json

import pytest
from tunes import tune

from auditor.api.scan import scan
from auditor.audio.encode import write_audio
from auditor.augment.waveform import change_speed
from auditor.serve.pool import worker_options
from auditor.serve.settings import Settings
from auditor.serve.worker import CheckWorker, read_message, serve
from auditor.workspace import open_workspace


@pytest.mark.parametrize(("service", "asked"), [(False, False), (True, False), (False, True)])
def test_a_wide_service_or_check_finds_a_copy_an_octave_higher(tmp_path, service, asked):
    wide = service or asked
    music, file = tune(1, duration_s=20.0), tmp_path / "faster.wav"
    write_audio(tmp_path / "tune.wav", music, codec="wav")
    write_audio(file, change_speed(music, 2.0), codec="wav")
    with open_workspace(tmp_path / "ws", write=True) as workspace:
        scan(workspace, [tmp_path / "tune.wav"])
    task = {"do": "check", "id": "1", "location": bytes(file).hex(), "source": "upload"}
    with open_workspace(tmp_path / "ws") as workspace:
        options = worker_options(Settings(tmp_path / "ws", wide=service))
        worker = CheckWorker(workspace, options, lambda stage: None)
        answer = worker.do(task | {"adds": False, "wide": asked, "name": "faster.wav"})
    assert [pair["verdict"] for pair in answer["findings"]] == ["altered recording"] * wide
    assert ("--wide" in json.loads(answer["result"])["threshold"]["note"]) == wide


def test_a_wide_service_needs_an_extractor_of_excerpts(settings_of):
    answers = io.BytesIO()
    serve(io.BytesIO(), answers, worker_options(settings_of(wide=True)))
    answers.seek(0)
    answer = read_message(answers)
    assert answer["ready"] is False
    assert "--wide needs an extractor" in answer["problem"]["detail"]
