"""Import and export for other programs: models of nnU-Net v1 and v2, and DICOM SEG.

Only this package and `networks.nnunet_results` know nnU-Net's files. Imports `networks` and below.
"""
