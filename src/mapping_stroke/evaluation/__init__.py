"""Evaluation of masks: metrics, the challenges' sets of metrics, tables, rankings, and rule fitting.

Imports `dataset` and below, never torch.
"""
