"""Files of other programs, in and out: models of nnU-Net v1 and v2, DICOM SEG. Nothing else knows nnU-Net.

Imports `networks` and below.
"""
