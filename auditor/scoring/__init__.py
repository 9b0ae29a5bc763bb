"""Scores and verdicts of pairs: candidates, their examination, and the rule that names them.

Not: where evidence comes from (``evidence``), how a run is put together (``api``).
"""

SCORERS = {
    "match": "auditor.scoring.match",
    "embedding-cosine": "auditor.scoring.cosine",
    "composition": "auditor.scoring.composition",
}
"""The scoring models, by the names of ``--score``, and the module of each, which has a ``Scorer``.
The first that fits the extractor flags pairs.  A further model is one module that keeps to
``scoring.base.Scorer``, and one line here."""
