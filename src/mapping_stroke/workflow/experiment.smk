"""One experiment as jobs. Each rule calls one command of `mapping`, which resumes its own work.

`mapping experiment` writes the settings (`config`), and starts Snakemake in the folder `experiment` of the run folder.
All that Snakemake owns lies there: a marker and a log for each job. It never touches a result.
"""

include: "common.smk"


RUN = literal(config["run"])
SCHEMES, WITH_PSEUDO_LABELS = config["schemes"], config["pseudo_label_schemes"]


def command(stage, *arguments):
    """The command of a stage, with the options that the settings give it."""
    return run(stage, *arguments, *map(literal, config["options"].get(stage, [])), accept_failed_cases=stage != "train")


def members(schemes):
    """The markers of these schemes on all folds."""
    return expand("done/train/{scheme}/fold_{fold}", scheme=schemes, fold=config["folds"])


def needed_first(wildcards):
    """A member waits for the arrays; with pseudo-labels also for all members that may be chosen to make them."""
    return members(SCHEMES) if wildcards.scheme in WITH_PSEUDO_LABELS else ["done/arrays"]


rule all:
    input:
        "done/report",


rule prepare:
    output:
        "done/prepare",
    params:
        job="prepare",
    shell:
        command("prepare", literal(config["data"]), "-o", RUN)


rule folds:
    input:
        "done/prepare",
    output:
        "done/folds",
    params:
        job="folds",
    shell:
        command("folds", RUN)


rule arrays:
    input:
        "done/folds",
    output:
        "done/arrays",
    params:
        job="arrays",
    threads: 2
    shell:
        command("train", RUN, "--arrays-only")


rule train:
    input:
        needed_first,
    output:
        "done/train/{scheme}/fold_{fold}",
    params:
        job="train/{scheme}/fold_{fold}",
    threads: config["cores"]
    resources:
        **LARGE,
    shell:
        command("train", RUN, "--schemes", "{wildcards.scheme}", "--folds", "{wildcards.fold}")


rule predict:
    input:
        members([*SCHEMES, *WITH_PSEUDO_LABELS]),
    output:
        "done/predict/{number}_of_{shares}",
    params:
        job="predict/{number}_of_{shares}",
    threads: config["cores"]
    resources:
        **LARGE,
    shell:
        command("predict", RUN, "--shard", "{wildcards.number}/{wildcards.shares}")


rule postprocess:
    input:
        expand("done/predict/{number}_of_{shares}", number=range(1, config["shares"] + 1), shares=config["shares"]),
    output:
        "done/postprocess",
    params:
        job="postprocess",
    shell:
        command("postprocess", RUN)


rule evaluate:
    input:
        "done/postprocess",
    output:
        "done/evaluate",
    params:
        job="evaluate",
    shell:
        command("evaluate", RUN)


rule report:
    input:
        "done/evaluate",
    output:
        "done/report",
    params:
        job="report",
    shell:
        command("report", RUN)
