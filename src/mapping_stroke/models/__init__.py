"""Making and judging models: train on simulated strokes, fit the rule, evaluate, audit, pack and describe.

The top room: imports `cohort`, `stages`, `simulation` and below. `make` is the way of the bundled model.
"""
