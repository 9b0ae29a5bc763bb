"""Scores and verdicts of pairs: candidates, their examination, and the rule that names them.

Not: where evidence comes from (``evidence``), how a run is put together (``api``).
"""
