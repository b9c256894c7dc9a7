"""Segmenting new scans, one or a thousand: inputs, the loop, results on disk; BIDS and challenge containers."""
