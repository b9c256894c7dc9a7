"""Simulated strokes: a healthy brain, lesions, a person, a head, a scanner, put together; and cohorts of such cases.

Imports `space` and below. `case` makes one case, `bank` draws them without end, `cohort` writes them as a data set.
"""
