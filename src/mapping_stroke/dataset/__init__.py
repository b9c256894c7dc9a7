"""Cases: finding and checking scans, folds, simulated cohorts, preprocessing, patches."""
