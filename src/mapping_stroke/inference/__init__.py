"""From scans to one probability map: sliding window, mean over the members."""
