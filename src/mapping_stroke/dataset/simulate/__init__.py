"""Simulated strokes: a healthy brain, lesions drawn or taken from real masks, a person's age, a scanner.

`cohort` plans who is there, `anatomy` prepares a brain, `shapes` and `real_masks` place lesions, `appearance` paints
them, `deformation` and `intensity` make it another person on another scanner, `case` puts it together.
Everything but `cohort` and `loads` is torch on whatever device the brain lies on, and touches no file.
"""
