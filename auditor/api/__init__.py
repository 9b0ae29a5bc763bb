"""The Python API behind the commands: scan, check, recommend, map, calibrate.

Not: options, printing and exit codes (``commands``).
"""
