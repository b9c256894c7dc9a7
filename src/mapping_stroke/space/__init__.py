"""MNI152 space: a raw T1w scan is placed there, and results are brought back.

`placement` and `model_input` are what others need: `place_scan` finds the brain of a scan and its place,
`make_model_input` gives what a model reads. `brain` finds the brain by the network in `brain_network`, `rough_fit`
and `affine` register it, `intensities` corrects what the scanner added. Imports `inference` and below.
"""
