"""Train one member as `mapping train` does, at any size, in its own process: `python -m benchmarks.our_training`."""

import sys
from pathlib import Path

import torch

from benchmarks.training_task import TrainingJob, read_job
from mapping_stroke.files import write_json
from mapping_stroke.processes import listening
from mapping_stroke.stages.arrays import make_arrays
from mapping_stroke.stages.member import CheckpointPolicy, Plan, train_member
from mapping_stroke.training.engine import Engine, Hardware

SAVE_MINUTES = 10.0


def train_ours(job: TrainingJob) -> None:
    """Train the job's member into its folder, or resume its training."""
    if job.threads:
        torch.set_num_threads(job.threads)
    folder, task = Path(job.folder), job.task
    triples = [(case.case_id, Path(case.scan), Path(case.mask)) for case in job.cases]
    arrays = make_arrays(Path(job.prepared), triples, task.size.preprocess)
    training, validation = (tuple(case.case_id for case in cases) for cases in (job.training, job.validation))
    plan = Plan(task.scheme, task.size, 0, job.seed, training, validation)
    cases = ([arrays[case_id] for case_id in training], [arrays[case_id] for case_id in validation])
    hardware = Hardware(torch.device(job.device), job.precision, job.compiled, grids=task.size.grids)
    with listening() as stop:
        train_member(folder, plan, cases, Engine.start(hardware), CheckpointPolicy(SAVE_MINUTES, stop), overwrite=False)
    if job.device == "cuda":
        kinds = {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
        write_json(job.memory_file, kinds)


if __name__ == "__main__":
    train_ours(read_job(Path(sys.argv[1])))
