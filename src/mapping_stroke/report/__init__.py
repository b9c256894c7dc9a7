"""Pictures of scans and lesions, curves, tables, and the pages that show them.

Imports `evaluation`, `space` and below; computes no mask and no score.
"""
