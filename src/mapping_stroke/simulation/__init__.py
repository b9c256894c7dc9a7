"""Simulated strokes from healthy brains, lesion masks, ageing, heads and scanners, and cohorts of such cases.

Imports `space` and below. `case` simulates one case, `bank` draws an endless stream, `cohort` writes a data set.
"""
