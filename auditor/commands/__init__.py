"""The command line, one file per command.

``options`` holds what several commands let a user type, ``running`` what they do with it.

Whatever needs numpy or more is imported inside a command, so that ``audit --help`` stays quick.
Not: exit codes of errors (``cli``), or anything that a Python caller needs (``api``).
"""
