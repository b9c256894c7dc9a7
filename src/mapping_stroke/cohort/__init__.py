"""New scans, one or a thousand: inputs, the loop over them, their results on disk; BIDS and challenge containers.

Imports `simulation` and below, never `stages` or `models`. `loop` is `mapping segment`, `bids` is `mapping bids`,
`challenge` and `challenge_server` are `mapping grand-challenge`.
"""
