"""Models: training on simulated strokes, rule fitting, evaluation, auditing, packing and description.

The top room: imports `cohort`, `stages`, `simulation` and below. `settings` holds the options of `mapping models`, and
`make` is how the bundled model was made.
"""
