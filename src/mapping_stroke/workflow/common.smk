"""What all graphs of jobs share: how a job runs one `mapping` command, and what a large job asks for.

Snakemake owns a marker and a log for each job, in the folder where it is started. It never touches a result.
"""

import shlex

LARGE = {"gpu": config["gpus"], "mem_mb": config["memory_mb"], "runtime": config["minutes"]}


def literal(text):
    """Text that Snakemake does not take for a wildcard."""
    return text.replace("{", "{{").replace("}", "}}")


def run(*arguments, accept_failed_cases=True):
    """Shell code that runs one `mapping` command, adds to its log, and leaves its exit status in the marker.

    Status 3 (single cases failed, which the log lists) counts as done if that is accepted. The log is no `log` of
    Snakemake, which deletes those before each attempt. Asked to stop, bash waits for the command (the trap): it is
    saving its work.
    """
    call = shlex.join([*map(literal, config["mapping"]), *arguments])
    start = f'echo "[$(date "+%F %T") on ${{{{SLURMD_NODENAME:-$(hostname)}}}}] "{shlex.quote(call)}'
    return "; ".join(
        [
            "trap : TERM INT USR1",
            "status=0; rm -f failed/{params.job}; touch begun/{params.job}",
            f"{start} >> logs/{{params.job}}.log",
            f"{call} &>> logs/{{params.job}}.log || status=$?",
            f"if [[ $status != 0 && $status != {3 if accept_failed_cases else 0} ]]",
            "then echo $status > failed/{params.job}; exit $status",
            "fi",
            "echo $status > {output}",
        ]
    )
