"""DICOM: which files hold which series, where their slices lie, and which series is the T1w scan."""
