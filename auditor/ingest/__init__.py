"""Files into the catalogue: which are new, embedded in how many processes, in what order stored.

Not: decoding (``audio``) and embedding (``embedding``) themselves.
"""
