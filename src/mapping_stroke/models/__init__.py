"""Models: training on simulated strokes, rule fitting, evaluation, auditing, packing and description.

Imports `cohort`, `stages`, `simulation` and below. `settings` holds the options of `mapping models`; the bundled model
was made by `make`.
"""
