"""New scans, one or a thousand: inputs, the route of a scan, results on disk, BIDS and challenge containers.

Imports `simulation` and below, never `stages` or `models`. `segmenter` is the only route from a scan to its lesions.
`loop` is `mapping segment`, `bids` is `mapping bids`, `challenge` and `challenge_server` are `mapping
grand-challenge`, `in_python` is `ms.Segmenter` and `segmented` its result.
"""
