"""Other programs' model files, in and out; nothing else in the package knows nnU-Net."""
