"""Cases of a data set: finding and checking scans, folds, preprocessing, arrays and patches.

Imports `rules`, `run_folder`, `images` and what lies below them. No networks, no training, no pictures.
"""
