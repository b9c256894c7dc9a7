"""The stages of an experiment in order, and the segmentation of one new scan.

simulate (or your own data) -> prepare -> folds -> train -> predict -> postprocess -> evaluate -> report;
`segment` is predict + postprocess for new scans. Heavy imports wait until a stage is called.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mapping_stroke.names import PresetName
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.work import StageResult

if TYPE_CHECKING:
    from mapping_stroke.cohort.segmented import Segmentation
    from mapping_stroke.cohort.settings import Space
    from mapping_stroke.images.in_memory import GivenImage
    from mapping_stroke.stages.settings import ExperimentConfig


def run_experiment(
    data: Path, run: RunFolder, config: "ExperimentConfig", *, jobs: int = 1, overwrite: bool = False
) -> StageResult:
    """Run every stage on one run folder, in this process; finished work is not done again.

    `stages.experiment.experiment_run` does the same by a job for each training.

    Args:
        data: Data set, in any layout that `prepare` reads.
        run: Run folder; running the experiment again resumes it.
        config: The settings that decide the results.
        jobs: Folds trained at once.
        overwrite: Remove another run from the folder.

    Returns:
        The report's page; and what failed in any stage, named `stage: case`.
    """
    from mapping_stroke.console import say

    failed: dict[str, str] = {}
    for name, stage in _stages(data, config, jobs, overwrite=overwrite).items():
        say(f"\n[{name}]")
        failed |= {f"{name}: {case}": why for case, why in stage(run).failed.items()}
    return StageResult((run.report_html,), failed)


def _stages(
    data: Path, config: "ExperimentConfig", jobs: int, *, overwrite: bool
) -> dict[str, Callable[[RunFolder], StageResult]]:
    """The stages of an experiment by name, in order, each a call on the run folder."""
    from mapping_stroke.cohort.reviewed import WITH_REVIEWED
    from mapping_stroke.stages.evaluate import evaluate_run
    from mapping_stroke.stages.folds import folds_run
    from mapping_stroke.stages.postprocess import postprocess_run
    from mapping_stroke.stages.predict import predict_run
    from mapping_stroke.stages.prepare import prepare_run
    from mapping_stroke.stages.report import report_run
    from mapping_stroke.stages.settings import PredictConfig
    from mapping_stroke.stages.train import train_run

    training = replace(config.training(), device=config.device, jobs=jobs)
    return {
        "prepare": lambda run: prepare_run(data, run, config.prepare, WITH_REVIEWED, overwrite=overwrite),
        "folds": lambda run: folds_run(run, config.splitting()),
        "train": lambda run: train_run(run, training),
        "predict": lambda run: predict_run(run, PredictConfig(config.mirror, config.device)),
        "postprocess": lambda run: postprocess_run(run, rule=config.rule),
        "evaluate": lambda run: evaluate_run(run, config.scoring),
        "report": report_run,
    }


def segment(
    scan: "GivenImage",
    model: Path | str = "default",
    preset: "PresetName" = "balanced",
    device: str = "auto",
    space: "Space" = "auto",
    brain: "GivenImage | None" = None,
) -> "Segmentation":
    """Segment one T1w scan. `Segmenter` does the same for many, and loads the model only once.

    Args:
        scan: An image of nibabel, of SimpleITK or of this package, or the path of one (`.nii`, `.nii.gz`, `.mgz`,
            `.mha`, `.mhd`, `.nrrd`) or of a folder with a DICOM series.
        model: A `.mapping` file, a model folder, a run folder, or the name of a model of this installation.
        preset: `fast` (one member), `balanced` (all members) or `paper` (all members, each with the mirroring of its
            training).
        device: `auto`, `cpu`, `cuda` or `mps`.
        space: `auto` registers the scan to MNI152 if the model is for that space and the scan lies elsewhere, `native`
            registers every scan, and `mni` none.
        brain: Your own brain mask, 1 inside and 0 elsewhere, on the scan's grid with its axes in any order: an image or
            a path. It decides the registration, and a model of brains only sees nothing outside it. None for brain
            extraction.

    Returns:
        Mask, probability, uncertainty, lesions and affine, on exactly the scan's own grid.

    Raises:
        MappingError: The scan cannot be read or registered, or shows no brain; there is no such model, preset, device
            or space; or the mask does not fit the scan or is of no use to the model.
    """
    from mapping_stroke.cohort.in_python import Segmenter, segment_given, warn_of

    found = segment_given(Segmenter(model, preset, device, space).route, scan, brain)
    warn_of(found)
    return found
