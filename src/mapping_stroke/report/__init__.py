"""Pictures of scans and lesions, curves, tables, and pages.

Imports `evaluation`, `space` and below. Computes no mask and no score.
"""
