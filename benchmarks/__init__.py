"""Our way timed beside the reference way: same input, same answer, one core."""
