"""`mapping bench`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg, subcommand

if TYPE_CHECKING:
    from mapping_stroke.benchmarks.timing import Race


@dataclass(frozen=True)
class Postprocess:
    """Post-process a made-up 197x233x189 map with 25 lesions, beside one pass over the volume for each component."""

    repeats: int = 5
    """How often each way is timed; medians are reported."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the result as Markdown, too."""

    def run(self) -> int:
        """Do it both ways and print the medians and their ratio."""
        from mapping_stroke.benchmarks.postprocess import race_postprocess

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
        from mapping_stroke.benchmarks.score import race_score

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
        from mapping_stroke.benchmarks.folds import bench_folds

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
        from mapping_stroke.benchmarks.inference import InferenceBench, bench_inference
        from mapping_stroke.benchmarks.inference_text import describe_inference

        _require_repeats(self.repeats)
        config = InferenceBench(self.scan, self.nnunet, self.members, self.repeats, self.cohort, self.device)
        beside = " --nnunet ENVIRONMENT/bin" if self.nnunet else ""
        scan = f" --scan {self.scan.name}" if self.scan else ""
        numbers = f"--members {self.members} --cohort {self.cohort} --repeats {self.repeats} --device {self.device}"
        command = f"mapping bench inference{beside}{scan} {numbers}"
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
        from mapping_stroke.benchmarks.agreement import bench_agreement, describe_agreement
        from mapping_stroke.run_folder import RunFolder

        found = bench_agreement(RunFolder(self.run_folder), self.device)
        return _finish(describe_agreement(found, "mapping bench agreement RUN"), self.output)


Action = (
    Annotated[Postprocess, subcommand("postprocess")]
    | Annotated[Score, subcommand("score")]
    | Annotated[Folds, subcommand("folds")]
    | Annotated[Inference, subcommand("inference")]
    | Annotated[Agreement, subcommand("agreement")]
)


@dataclass(frozen=True)
class Bench:
    """Measure a stage beside the reference way."""

    action: Action

    def run(self) -> int:
        """Measure it."""
        return self.action.run()


def _race(race: "Callable[[int], Race]", stage: str, repeats: int, output: Path | None) -> int:
    from mapping_stroke.benchmarks.timing import describe_race

    _require_repeats(repeats)
    return _finish(describe_race(race(repeats), f"mapping bench {stage} --repeats {repeats}"), output)


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
