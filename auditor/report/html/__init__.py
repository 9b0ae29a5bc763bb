"""Self-contained HTML pages: scan, check, recommendations, map, calibration.

Not: their templates' text about numbers (``report.text``).
"""
