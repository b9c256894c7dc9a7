"""The stages of an experiment over its run folder, one file for each, in the words of the command line.

Imports `simulation` and below, never `cohort` or `models`.
"""
