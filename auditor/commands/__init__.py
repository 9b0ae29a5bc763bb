"""The commands, one file each: they read arguments, call the Python API, and print.

Whatever needs torch or numpy is imported inside a command, so that ``audit --help`` stays quick.
"""
