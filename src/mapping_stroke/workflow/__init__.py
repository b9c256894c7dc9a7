"""Jobs side by side, on this machine or a cluster, run by Snakemake: an experiment, or a cohort in shares.

`jobs` reads and names the files that each job leaves, `execution` says where the jobs run, `snakemake` runs them. Each
`.smk` file is a graph of `mapping` commands. May import `processes`, `work` and what stands below them.
"""
