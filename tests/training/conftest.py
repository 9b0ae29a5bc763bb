"""Training with little synthetic speech: what is usual takes seconds for each new seed."""

from __future__ import annotations

import pytest

from auditor.training import batches


@pytest.fixture(scope="package", autouse=True)
def little_talk():
    """Mix four talks of five seconds over the music."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "N_TALKS", 4)
        patch.setattr(batches, "TALK_S", 5)
        batches.make_talk.cache_clear()
        yield
    batches.make_talk.cache_clear()
