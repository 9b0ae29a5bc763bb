"""What people decided of pairs: applied to results, read from and written to CSV, reviewed.

Not: where they are stored (``catalogue.decisions``).
"""
