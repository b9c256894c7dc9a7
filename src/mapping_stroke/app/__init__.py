"""`mapping app`: segment, look at, rate and correct scans in a browser on this machine.

May import `cohort` and everything below it; nothing imports it but the command line.
"""
