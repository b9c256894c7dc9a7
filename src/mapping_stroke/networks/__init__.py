"""Networks as data, their weights on disk, and model bundles for sharing.

Part of the core. Imports `dataset` and below.
"""
