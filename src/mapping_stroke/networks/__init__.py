"""The networks: what a U-Net is made of, and its weights on disk."""
