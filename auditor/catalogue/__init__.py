"""What is kept of every track, in one SQLite file: tags, embeddings, d-vectors, spectra, decisions.

Not: filling it (``ingest``), searching it (``search``).
"""
