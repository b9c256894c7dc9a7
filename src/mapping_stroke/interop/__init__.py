"""Import and export for other programs: models of nnU-Net v1 and v2, DICOM SEG. Only this room knows nnU-Net's files.

Imports `networks` and below.
"""
