"""From prepared scans to one probability map: sliding window, engines (OpenVINO, torch), mean over the members.

Part of the core, which runs on a bare GPU node: no readers of images, tables, plots or command line. Imports `networks`
and below.
"""
