"""A cohort in shares: the same command several times, as one array job on a cluster."""


include: "common.smk"


rule all:
    input:
        expand("done/share/{number}_of_{shares}", number=range(1, config["shares"] + 1), shares=config["shares"]),


rule share:
    output:
        "done/share/{number}_of_{shares}",
    params:
        job="share/{number}_of_{shares}",
    threads: config["cores"]
    resources:
        **LARGE,
    shell:
        run(
            *map(literal, config["command"]),
            *(["--shard", "{wildcards.number}/{wildcards.shares}"] if config["by_shard"] else []),
        )
