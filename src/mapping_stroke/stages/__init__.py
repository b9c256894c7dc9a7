"""The stages of an experiment over its run folder, one file each."""
