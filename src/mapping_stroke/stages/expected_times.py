"""How long the jobs of an experiment take: expected from the settings, and how far a running one has come."""

from collections.abc import Iterable, Sequence

from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.networks.member_folder import has_member
from mapping_stroke.run_folder import ENSEMBLE, RunFolder
from mapping_stroke.stages.settings import ExperimentConfig
from mapping_stroke.stages.status import read_progress
from mapping_stroke.training.schemes import Scheme, Size, augmentation_of, find_scheme
from mapping_stroke.workflow.jobs import stage_of

KINDS = {"train": "networks", "predict": "networks"} | dict.fromkeys(
    ("prepare", "folds", "arrays", "postprocess", "evaluate", "report"), "files"
)
"""Stages whose speed depends on the same: the GPU, or the disk and the size of the scans."""
START_S = 4.0
"""Start of a command."""
SECONDS_A_CASE = {"prepare": 0.031, "folds": 0.0, "arrays": 0.061, "postprocess": 0.051, "evaluate": 0.026}
"""Measured on two cores with 955 scans (655 labelled) of 4 mm."""
REPORT_S = 42.0
TRAIN_START_S, TRAIN_FLOP_PER_S = 20.0, 6.2e10
"""Size `tiny` on one core: 4.4 s an epoch."""
MAP_S, WINDOWS_FLOP_PER_S = 0.13, 2e11
"""Time to read, resample and write the map of one member, and the speed of prediction: 2200 s for 8620 maps on two
cores."""
BRAIN_MM3, WINDOWS_A_VOXEL, MIRRORINGS = 3e6, 8, 2


def expect_seconds(jobs: Iterable[str], cases: Sequence[FoundCase], config: ExperimentConfig) -> dict[str, float]:
    """The expected duration of each job on two CPU cores with small scans.

    Only the proportions matter for long: the durations of finished jobs correct them. The sizes of the networks, the
    numbers of epochs and of scans decide the proportions.
    """
    names = list(jobs)
    members = [job.split("/")[1] for job in names if stage_of(job) == "train"]
    shares = sum(stage_of(job) == "predict" for job in names)
    size = config.training().wanted_size
    schemes = {name: find_scheme(name, config.variant) for name in dict.fromkeys(members)}
    maps_s = sum(
        _predict_seconds(size, scheme, mirror=config.mirror)
        * sum(members.count(name) if case.mask is None else 1 for case in cases)
        for name, scheme in schemes.items()
    )
    seconds = {}
    for job in names:
        stage = stage_of(job)
        if stage == "train":
            seconds[job] = _train_seconds(size, schemes[job.split("/")[1]])
        elif stage == "predict":
            seconds[job] = START_S + maps_s / shares
        else:
            seconds[job] = REPORT_S if stage == "report" else START_S + SECONDS_A_CASE[stage] * len(cases)
    return seconds


def _train_seconds(size: Size, scheme: Scheme) -> float:
    # a backward pass costs two forward passes
    passes = size.batch * (3 * size.steps_per_epoch + size.validation_steps) * size.epochs_of(scheme)
    return TRAIN_START_S + passes * size.network(scheme).forward_flop(size.patch) / TRAIN_FLOP_PER_S


def _predict_seconds(size: Size, scheme: Scheme, *, mirror: bool) -> float:
    """Of one member for one scan."""
    x, y, z = size.patch
    edge_mm = size.preprocess.edges_mm
    patch_mm3 = x * y * z * edge_mm[0] * edge_mm[1] * edge_mm[2]
    passes = WINDOWS_A_VOXEL * BRAIN_MM3 / patch_mm3
    if mirror:
        passes *= MIRRORINGS ** len(augmentation_of(scheme).mirror_axes)
    return MAP_S + passes * size.network(scheme).forward_flop(size.patch) / WINDOWS_FLOP_PER_S


def share_done(run: RunFolder, cases: int, job: str) -> float | None:
    """The share of a running job that is done; None for jobs that do not show it.

    Args:
        run: The run.
        cases: Number of its cases.
        job: Name of the job. All shares of the predictions are taken to be equally far.
    """
    stage, *rest = job.split("/")
    if stage == "predict":
        done = sum(1 for _ in run.probabilities(ENSEMBLE).glob("*_probability.json"))
        return min(done / max(cases, 1), 1.0)
    if stage != "train":
        return None
    folder = run.members.joinpath(*rest)
    if has_member(folder):
        return 1.0
    signed = read_progress(folder)
    if signed is None:
        return 0.0
    begun = signed.step / signed.steps if signed.steps else 0.0
    return min((signed.epochs_done + begun) / max(signed.epochs, 1), 1.0)
