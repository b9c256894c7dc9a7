"""`mapping bench`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Bench:
    """Measure a stage beside the reference way: how fast it is on one core, or how balanced its folds are."""

    stage: Positional[Literal["postprocess", "score", "folds"]]
    """What to time, on a made-up 197x233x189 case with 25 lesions; or `folds`, of 655 cases with ATLAS-like loads."""
    repeats: int = 5
    """How often each way is timed, or seeds of the folds; medians are reported."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the result as Markdown, too."""

    def run(self) -> int:
        """Do it both ways and print the medians and their ratio."""
        from mapping_stroke.benchmarks.folds import bench_folds
        from mapping_stroke.benchmarks.postprocess import race_postprocess
        from mapping_stroke.benchmarks.score import race_score
        from mapping_stroke.benchmarks.timing import describe_race
        from mapping_stroke.console import name_files, say
        from mapping_stroke.errors import ConfigError
        from mapping_stroke.files import write_text

        if self.repeats < 1:
            raise ConfigError(f"--repeats must be 1 or more, got {self.repeats}")
        if self.stage == "folds":
            text = bench_folds(self.repeats)
        else:
            result = (race_postprocess if self.stage == "postprocess" else race_score)(self.repeats)
            text = describe_race(result, f"mapping bench {self.stage} --repeats {self.repeats}")
        say(text)
        if self.output is not None:
            write_text(self.output, text)
            name_files("Result", self.output)
        return 0
