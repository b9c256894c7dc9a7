"""Training one member: schemes, augmentation, losses, the loop, schedules and checkpoints.

Part of the core: torch only. Imports `networks` and below.
"""
