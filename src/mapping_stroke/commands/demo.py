"""`mapping demo`."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Demo:
    """Run the whole pipeline on a small simulated cohort: minutes on 2 cores, no data, no GPU.

    Simulates strokes, trains the four schemes on two folds at the tiny size, averages, post-processes, scores, and
    writes the report. The networks are far smaller than the paper's, and so are their scores.
    """

    out: Positional[Path] = Path("demo")
    """Folder for the cohort (`cohort/`), the run (`run/`) and a segmented new scan (`segment/`)."""
    subjects: int = 20
    """Training cases."""
    unlabelled: int = 4
    """Scans without masks, for self-training."""
    folds: int = 2
    """Each case is scored by networks that never saw its fold."""
    seed: int = 0
    """Decides cohort, folds and training."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    overwrite: bool = False
    """Remove what a demo of other settings left there."""

    def run(self) -> int:
        """Simulate, run every stage, segment one new scan, name what to look at."""
        import torch

        from mapping_stroke.console import say
        from mapping_stroke.errors import ConfigError
        from mapping_stroke.experiment.segment import SegmentConfig, segment_scans
        from mapping_stroke.experiment.simulate import find_sources, simulate_cohort
        from mapping_stroke.experiment.simulation_tables import Request
        from mapping_stroke.inference.devices import choose_device
        from mapping_stroke.pipeline import Experiment, run_experiment

        choose_device(self.device)
        if not 2 <= self.folds <= self.subjects or self.unlabelled < 1:
            raise ConfigError(
                f"--subjects {self.subjects} --folds {self.folds} --unlabelled {self.unlabelled}: expected 2 or more "
                "folds, a subject for each at least, and 1 or more unlabelled scans for self-training"
            )
        torch.set_num_threads(1)  # the networks are so small that more threads would only wait for one another
        cohort, run_folder, segmented = self.out / "cohort", self.out / "run", self.out / "segment"
        say(
            f"Demo in {self.out}: {self.subjects} simulated strokes, four schemes on {self.folds} folds, tiny networks."
        )
        say("About 6 minutes on 2 cores. Interrupt it at any time; the same command goes on.\n\n[simulate]")
        simulate_cohort(
            cohort,
            Request(self.subjects, self.seed, self.unlabelled),
            find_sources(None, None),
            overwrite=self.overwrite,
        )
        experiment = Experiment(cohort, run_folder, self.folds, size="tiny", seed=self.seed, device=self.device, jobs=2)
        page = run_experiment(experiment, overwrite=self.overwrite)
        say("\n[segment] one of the scans without a mask, as a new scan")
        scan = sorted((cohort / "Testing").rglob("*_T1w.nii.gz"))[0]
        segment_scans([scan], segmented, run_folder, SegmentConfig(device=self.device), overwrite=self.overwrite)
        say(f"\nLook at the report:        {page}")
        say(f"and at the segmented scan: {segmented / scan.name.replace('.nii.gz', '.png')}")
        return 0
