"""Training one member: schemes, augmentation, losses, the loop, schedules and checkpoints.

Part of the core, which needs only torch. Imports `networks` and below.
"""
