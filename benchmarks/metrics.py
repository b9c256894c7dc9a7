"""The metrics of both scoring profiles compared with other programs."""

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.benchmark import Benchmark, require_at_least
from benchmarks.commands import BenchError, run_command
from benchmarks.heading import describe_head
from benchmarks.mask_pairs import MaskPair, make_pairs, write_pairs
from mapping_stroke.console import track
from mapping_stroke.evaluation.profiles import PROFILES
from mapping_stroke.evaluation.score import score

OTHER_DEFINITIONS: Mapping[str, str] = {
    "atlas2022/hd95_mm/MONAI": "the larger 95th percentile of the two directions, not of both together",
    "isles2026/matched_lesion_f1/panoptica, MaxBipartiteMatching": "pairs at IoU 0.25 or more with the largest sum",
    "isles2026/matched_lesion_f1/MONAI": "pairs with the largest sum of IoU; those above (not at) 0.25 count",
    "isles2026/pr_auc/MONAI": "average precision: steps, not the trapezoidal rule",
}
"""`profile/metric/program` -> definition of a program that means something else."""

INPUTS = (
    "Pairs: edge cases (`benchmarks/mask_pairs.py`), each in both directions, on cubic and long voxels; random masks "
    "of up to 20 voxels a side; masks on ATLAS's grid. A program is left out of the pairs for which it has no number. "
    "`plain sums` is the curve point by point, from one sort of the voxels (`benchmarks/metric_programs.py`)."
)


@dataclass(frozen=True)
class Metrics(Benchmark):
    """Compare every metric of both profiles with panoptica, MONAI, medpy, cc3d and scikit-learn."""

    programs: Path = Path(".oracles/bin")
    """Folder of the Python that has these programs, as `make oracles` installs it."""
    pairs: int = 1000
    """Random pairs of masks, besides the edge cases."""
    large: int = 2
    """Pairs of masks on the grid of ATLAS R2.0."""

    def __post_init__(self) -> None:
        require_at_least("--pairs", self.pairs, 0)
        require_at_least("--large", self.large, 0)

    def report(self) -> str:
        """Score all pairs with every program, and list the differences."""
        agreements, versions = compare_metrics(make_pairs(self.pairs, self.large), self.programs)
        command = f"python -m benchmarks metrics --pairs {self.pairs} --large {self.large}"
        return describe_agreements(agreements, versions, command)


@dataclass(frozen=True)
class Agreement:
    """One metric by one program, compared with ours.

    Attributes:
        key: `profile/metric/program`.
        ours: Our values of the pairs that the program scores.
        theirs: Values of the program for the same pairs.
    """

    key: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def largest(self) -> float:
        """Largest absolute difference; infinite if only one of the two is undefined."""
        return max((_distance(*pair) for pair in zip(self.ours, self.theirs, strict=True)), default=math.nan)

    def differing(self, tolerance: float = 1e-6) -> int:
        """Number of pairs that differ by more than rounding."""
        return sum(_distance(*pair) > tolerance for pair in zip(self.ours, self.theirs, strict=True))


def compare_metrics(pairs: Sequence[MaskPair], programs: Path) -> tuple[list[Agreement], dict[str, str]]:
    """Score the pairs with ours and with the other programs.

    Returns:
        One agreement for each metric and program, and the versions of the programs.

    Raises:
        BenchError: The folder has no Python, or the programs fail there.
    """
    python = programs.absolute() / "python"
    if not python.exists():
        raise BenchError(
            f"{python}: no such file; `make oracles` installs the programs, name their folder by --programs"
        )
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "pairs.npz"), Path(folder, "scores.json")
        write_pairs(pairs, given)
        run_command([str(python), str(Path(__file__).with_name("metric_programs.py")), str(given), str(out)])
        found = json.loads(out.read_text())
    ours = {
        profile: [
            score(pair.prediction, pair.reference, pair.spacing_mm, profile, pair.probability)
            for pair in track(pairs, f"Scoring by {profile}", len(pairs))
        ]
        for profile in PROFILES
    }
    return [_pick(key, values, ours) for key, values in found["values"].items()], found["versions"]


def _pick(key: str, values: list[float | None], ours: Mapping[str, list[dict[str, float]]]) -> Agreement:
    profile, metric, _ = key.split("/")
    pairs = [(scores[metric], value) for scores, value in zip(ours[profile], values, strict=True) if value is not None]
    return Agreement(key, tuple(ours for ours, _ in pairs), tuple(theirs for _, theirs in pairs))


def _distance(ours: float, theirs: float) -> float:
    if math.isnan(ours) or math.isnan(theirs):
        return 0.0 if math.isnan(ours) and math.isnan(theirs) else math.inf
    return abs(ours - theirs)


def describe_agreements(agreements: Sequence[Agreement], versions: Mapping[str, str], command: str) -> str:
    """One table for each profile, as Markdown, then the definitions that differ."""
    others = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = describe_head("Metrics of both profiles beside other programs", command, ("numpy", "scipy"), others=others)
    lines += [INPUTS, ""]
    for profile in PROFILES:
        lines += [f"## Profile `{profile}`", "", "| metric | program | pairs | largest absolute difference |"]
        lines += ["|---|---|---|---|"]
        for agreement in agreements:
            of, metric, program = agreement.key.split("/")
            if of == profile and agreement.key not in OTHER_DEFINITIONS:
                lines.append(f"| `{metric}` | {program} | {len(agreement.ours)} | {agreement.largest:.2g} |")
        lines.append("")
    lines += [
        "## Programs with another definition",
        "",
        "| metric | program | its definition | pairs | that differ | by |",
    ]
    lines += ["|---|---|---|---|---|---|"]
    for agreement in agreements:
        if agreement.key in OTHER_DEFINITIONS:
            _, metric, program = agreement.key.split("/")
            numbers = f"{len(agreement.ours)} | {agreement.differing()} | up to {agreement.largest:.2g}"
            lines.append(f"| `{metric}` | {program} | {OTHER_DEFINITIONS[agreement.key]} | {numbers} |")
    return "\n".join([*lines, ""])
