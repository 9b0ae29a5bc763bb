"""Nearest rows among embeddings: exact matrix products and the Annoy index.

Not: what a near row means; an index only proposes (``scoring``).
"""
