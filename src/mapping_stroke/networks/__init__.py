"""Networks as data, their weights on disk, and the bundles in which models are shared.

Part of the core. Imports `dataset` and below.
"""
