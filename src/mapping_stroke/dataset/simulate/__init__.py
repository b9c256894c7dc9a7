"""Simulated strokes: a healthy brain, lesions drawn or taken from real masks, a person's age, a head, a scanner.

`cohort` plans who is there, `anatomy` prepares a brain, `shapes` and `real_masks` place lesions, `ageing` and
`appearance` paint years and lesions, `head` and `view` say what is around and what is shown, `deformation` and
`intensity` make it another person on another scanner, `case` puts it together, `stream` makes cases without end.
Everything but `cohort`, `loads` and `parts` is torch on whatever device the brain lies on, and touches no file.
"""
