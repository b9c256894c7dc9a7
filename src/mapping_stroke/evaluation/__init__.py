"""Evaluation of masks: metrics, the sets of metrics that challenges use, tables, rankings, and fitting of rules.

Imports `dataset` and below, never torch.
"""
