"""What people look at: pictures of scans and lesions, curves, tables, and the pages that hold them.

Imports `evaluation`, `space` and below; computes no mask and no score.
"""
