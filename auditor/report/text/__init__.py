"""Sentences about pairs, evidence and error rates, shared by terminal and HTML."""
