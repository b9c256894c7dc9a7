"""`mapping demo`, `mapping simulate` and `mapping info`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from mapping_stroke.simulation.settings import CohortSize, SourceFolders


@dataclass(frozen=True)
class FirstContact:
    """Scans to segment and the model; not with `--experiment`."""

    scan: tuple[Path, ...] = ()
    """Your own scans to segment as well: files, or folders of them."""
    model: str = "default"
    """A `.mapping` file, a model folder, a run folder, or the name of a bundled model."""


@dataclass(frozen=True)
class SmallExperiment:
    """Size of the experiment; only with `--experiment`."""

    subjects: int = 20
    """Training cases."""
    unlabelled: int = 4
    """Scans without masks, for self-training."""
    folds: int = 2
    """Number of folds; each case is scored by networks that never saw its fold."""
    seed: int = 0
    """Seed of cohort, folds and training."""


@dataclass(frozen=True)
class Demo:
    """See it work: the bundled model segments a simulated stroke and a simulated healthy brain, in about a minute.

    Prints and draws the lesions, and names the files. With `--experiment`, runs the whole pipeline instead: simulates
    strokes, trains the four schemes on two folds at the tiny size, averages, post-processes, scores and reports, in
    minutes. Neither needs data or a GPU.
    """

    out: Positional[Path] = Path("demo")
    """Folder for `scans/`, `segment/` and `demo.png`; with `--experiment`, for `cohort/`, `run/` and `new-scan/`."""
    experiment: bool = False
    """Run the whole pipeline on a small simulated cohort instead."""
    first_contact: FirstContact = FirstContact()
    small_experiment: SmallExperiment = SmallExperiment()
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    overwrite: bool = False
    """Replace results of a demo with other settings there."""

    def run(self) -> int:
        """Show the model or run the experiment; refuse options that belong to the other."""
        from mapping_stroke.errors import ConfigError

        if self.experiment and self.first_contact != FirstContact():
            raise ConfigError("--scan and --model do not apply to the experiment, which trains a model; omit them")
        if not self.experiment and self.small_experiment != SmallExperiment():
            raise ConfigError("--subjects, --unlabelled, --folds and --seed need --experiment; add it or omit them")
        return self._run_experiment() if self.experiment else self._show_model()

    def _show_model(self) -> int:
        from mapping_stroke.demo import show_model

        failed = show_model(
            self.out, self.first_contact.scan, self.first_contact.model, self.device, overwrite=self.overwrite
        )
        self._name_next_command()
        return 3 if failed else 0

    def _name_next_command(self) -> None:
        """Show the next command as it works in this shell."""
        import shlex
        import shutil
        import sys

        from mapping_stroke.console import say

        command = "mapping" if shutil.which("mapping") else shlex.quote(sys.argv[0])
        model = self.first_contact.model
        chosen = "" if model == FirstContact.model else f" --model {shlex.quote(model)}"
        say(f"\nRate and correct these:     {command} app {shlex.quote(str(self.out / 'segment'))}")
        say(f"Now segment your own scans: {command} segment your-scan.nii.gz -o results{chosen}")

    def _run_experiment(self) -> int:
        """Simulate, run every stage, segment one new scan, and name the results to look at."""
        import torch

        from mapping_stroke.cohort.loop import segment_scans
        from mapping_stroke.cohort.settings import Computation
        from mapping_stroke.console import say
        from mapping_stroke.errors import ConfigError
        from mapping_stroke.inference.engines import choose_device
        from mapping_stroke.pipeline import run_experiment
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.simulation.cohort import find_sources, simulate_cohort
        from mapping_stroke.stages.settings import ExperimentConfig

        choose_device(self.device)
        small = self.small_experiment
        subjects, unlabelled, folds = small.subjects, small.unlabelled, small.folds
        if not 2 <= folds <= subjects or unlabelled < 1:
            raise ConfigError(
                f"--subjects {subjects} --folds {folds} --unlabelled {unlabelled}: expected at least 2 "
                "folds, one subject for each, and 1 unlabelled scan for self-training"
            )
        torch.set_num_threads(1)  # with such small networks, more threads would only wait for one another
        cohort, run_folder, segmented = self.out / "cohort", self.out / "run", self.out / "new-scan"
        say(f"Experiment in {self.out}: {subjects} simulated strokes, four schemes on {folds} folds, tiny networks.")
        say("About 6 minutes on 2 cores. Interrupt it at any time; rerun the command to resume.\n\n[simulate]")
        size = CohortSize(subjects, small.seed, unlabelled)
        simulate_cohort(cohort, size, find_sources(SourceFolders()), overwrite=self.overwrite)
        config = ExperimentConfig(folds=folds, size="tiny", seed=small.seed, device=self.device)
        result = run_experiment(cohort, RunFolder(run_folder), config, jobs=2, overwrite=self.overwrite)
        say("\n[segment] one of the scans without a mask, as a new scan")
        scan = sorted((cohort / "Testing").rglob("*_T1w.nii.gz"))[0]
        computation = Computation(str(run_folder), device=self.device)
        unsegmented = segment_scans([scan], segmented, computation, overwrite=self.overwrite)
        say(f"\nLook at the report:        {result.outputs[0]}")
        say(f"and at the segmented scan: {segmented / scan.name.replace('.nii.gz', '.png')}")
        return 3 if unsegmented else result.status


@dataclass(frozen=True)
class Simulate:
    """Write a cohort of simulated strokes in the layout of ATLAS R2.0, for trying the pipeline without patient data.

    A larger cohort begins with the subjects of a smaller one of the same seed: rerun with more subjects to extend it.
    """

    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """Folder to write: Training/ with masks; Testing/ without, its true masks in Testing_reference/."""
    size: CohortSize
    folders: SourceFolders = field(default_factory=SourceFolders)
    spacing_mm: float = 1.0
    """Voxel size of the cohort; ATLAS has 1 mm. Larger voxels (up to 6) give a cohort of small files to try a long
    experiment on."""
    licence: str = ""
    """Origin and licence of --brains and --lesions, for dataset_description.json."""
    overwrite: bool = False
    """Replace results of another run in OUT."""

    def run(self) -> int:
        """Simulate the missing cases."""
        from mapping_stroke.dataset.grid import atlas_grid
        from mapping_stroke.errors import ConfigError
        from mapping_stroke.simulation.cohort import find_sources, simulate_cohort

        if not 1 <= self.spacing_mm <= 6:
            raise ConfigError(f"got --spacing-mm {self.spacing_mm:g}, expected 1 to 6")
        sources = find_sources(self.folders, self.licence)
        simulate_cohort(self.out, self.size, sources, atlas_grid(self.spacing_mm), overwrite=self.overwrite)
        return 0


@dataclass(frozen=True)
class Info:
    """Show versions, devices and the path of this installation, for bug reports."""

    def run(self) -> int:
        """Print one line per fact."""
        from mapping_stroke.console import say
        from mapping_stroke.environment import describe_environment

        for name, value in describe_environment().items():
            say(f"{name}: {value}")
        return 0
