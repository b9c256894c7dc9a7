"""MNI152 space: place a raw T1w scan there, and bring results back.

Other packages need only `placement` and `model_input`: `place_scan` finds the brain of a scan and registers it,
`make_model_input` makes the image that a model reads. `brain` extracts the brain with the network in `brain_network`,
`rough_fit` and `affine` register it, `intensities` corrects bias field and background; `atlas` reads the regions of a
user's atlas. Imports `inference` and below.
"""
