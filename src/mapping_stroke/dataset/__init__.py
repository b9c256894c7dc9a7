"""Cases of a data set: finding and checking scans, folds, preprocessing, arrays and patches.

Imports `rules`, `run_folder`, `images` and the layers below. No networks, no training, no pictures.
"""
