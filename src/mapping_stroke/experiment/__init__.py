"""The stages of an experiment over its run folder: read the inputs, loop over the cases, write the outputs."""
