"""Alterations: what happens to a recording between the original and its copy.

``waveform`` alters samples, ``voices`` synthesises the speech that is mixed over music,
``alterations`` is the benchmark's table of them, and ``bands`` alters log-power frames where that
is equivalent and cheaper.
"""
