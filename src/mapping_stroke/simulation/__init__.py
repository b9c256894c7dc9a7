"""Simulated strokes: a healthy brain, lesions, a person, a head, a scanner; and cohorts of them."""
