"""Candidate pairs, examined one by one or with a second thread: the same results."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import tune

from auditor.examination import Limits, examine_pairs
from auditor.records import Evidence, MatchedRange
from auditor.spectrum import waveform_spectrum
from auditor.track_reader import Content

HEARD = Evidence(
    0.3, (MatchedRange(0.0, 20.0, 0.0, 20.0, 1.0, 0.3, None, 0.0),), 1.0, 1.0, 1.0, 0.1
)


def examine(compare, **how):
    spectra = {str(n): waveform_spectrum(tune(n % 5, duration_s=20.0)) for n in range(8)}
    candidates = [(str(a), str(b), 0.1 * b) for a in range(2) for b in range(2, 8)]
    return examine_pairs(
        candidates,
        compare,
        spectra.__getitem__,
        lambda name: Content(name, 20.0),
        limits=Limits(),
        **how,
    )


def test_a_second_thread_changes_nothing():
    alone, beside = (examine(lambda a, b: HEARD, beside=which) for which in (False, True))
    assert alone == beside
    assert alone.n_compared == 12
    assert [p for p in alone.pairs if p.score > 0.7], "tune 0 and 5, 1 and 6 are the same"
    assert np.sum(alone.histogram["counts"]) == 12


@pytest.mark.parametrize("beside", [False, True])
def test_what_fails_is_said(beside):
    def fail(a, b):
        if b == "5":
            raise ZeroDivisionError
        return HEARD

    with pytest.raises(ZeroDivisionError):
        examine(fail, beside=beside)
