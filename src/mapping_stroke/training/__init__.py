"""Training one member: scheme, losses, augmentation, loop."""
