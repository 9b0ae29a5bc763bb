"""Results as people and programs read them: terminal, CSV, JSON Schema, HTML with its media.

Not: the result itself (``records``).
"""
