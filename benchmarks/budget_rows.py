"""Dice of groups of ensembles, from the stored maps of their members."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int32

from benchmarks.ensembles import Group
from benchmarks.member_maps import MemberMaps, read_maps
from mapping_stroke.console import track
from mapping_stroke.evaluation.cohorts import Estimate, estimate_mean
from mapping_stroke.evaluation.contributions import GREEDY, RANDOM, Subset, dice_of_mean
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.rules import PostprocessConfig, apply_rule
from mapping_stroke.stages.report_tables import STEPS

Cases = Float64[np.ndarray, " case"]


@dataclass(frozen=True, eq=False)
class _Inside:
    """The part of a case that decides the Dice at P > 0.5."""

    steps: Int32[np.ndarray, "member voxels"]
    reference: Bool[np.ndarray, " voxels"]
    load_vox: int
    load_ml: float


class EnsembleDice:
    """Dice of ensembles at P > 0.5 on every case; each ensemble is computed once.

    Args:
        files: Maps of each case, see `read_maps`; only voxels in which a member exceeds 0.5 are kept in memory.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._cases = [_inside(read_maps(file)) for file in track(files, "Reading maps", len(files))]
        self._known: dict[Subset, Cases] = {}

    @property
    def loads_ml(self) -> list[float]:
        """Lesion volume of each case."""
        return [case.load_ml for case in self._cases]

    def __call__(self, subset: Subset) -> Cases:
        """Dice of the mean of these members' maps on each case, in order; 1 if both masks are empty."""
        if subset not in self._known:
            found = [
                dice_of_mean(case.steps[list(subset)], STEPS // 2, case.reference, case.load_vox)
                for case in self._cases
            ]
            self._known[subset] = np.array(found, np.float64)
        return self._known[subset]


def _inside(maps: MemberMaps) -> _Inside:
    inside, load_vox = maps.inside, int(maps.reference.sum())
    load_ml = load_vox * maps.voxel_volume_mm3 / 1000
    return _Inside(maps.steps[:, inside].astype(np.int32), maps.reference[inside], load_vox, load_ml)


def dice_by_rule(
    files: Sequence[Path], groups: Sequence[Group], rule: PostprocessConfig
) -> list[Float64[np.ndarray, "ensemble case"]]:
    """Dice of every ensemble of each group after post-processing; one case is read at a time."""
    found = [np.empty((len(group.ensembles), len(files))) for group in groups]
    for case, file in enumerate(track(files, "Post-processing", len(files))):
        maps, known = read_maps(file), dict[Subset, float]()
        for group, values in zip(groups, found, strict=True):
            for number, ensemble in enumerate(group.ensembles):
                subset = ensemble[case]
                if subset not in known:
                    known[subset] = _dice_after(maps, subset, rule)
                values[number, case] = known[subset]
    return found


def _dice_after(maps: MemberMaps, subset: Subset, rule: PostprocessConfig) -> float:
    total = maps.steps[list(subset)].sum(axis=0, dtype=np.int32)
    probability = (total / (STEPS * len(subset))).astype(np.float32)
    return dice(apply_rule(probability, rule, maps.voxel_volume_mm3), maps.reference)


def dice_of_group(group: Group, dice_of: Callable[[Subset], Cases]) -> Float64[np.ndarray, "ensemble case"]:
    """Dice of every ensemble of a group on each case, of which each may have members of its own."""
    return np.array(
        [[dice_of(subset)[case] for case, subset in enumerate(ensemble)] for ensemble in group.ensembles], np.float64
    )


@dataclass(frozen=True)
class Row:
    """The scores of one group of ensembles.

    Attributes:
        group: The ensembles.
        dice: Dice at P > 0.5: mean over ensembles and cases.
        lowest, highest: Mean Dice of the worst and of the best ensemble.
        gain: Over the row before in greedy and random order, paired by case; None for a first row and other groups.
        minus_all: Dice minus that of all members, paired by case.
        by_rule: Dice after post-processing.
    """

    group: Group
    dice: Estimate
    lowest: float
    highest: float
    gain: Estimate | None
    minus_all: Estimate
    by_rule: Estimate


def make_rows(
    groups: Sequence[Group],
    scores: Sequence[tuple[Float64[np.ndarray, "ensemble case"], Float64[np.ndarray, "ensemble case"]]],
    people: Sequence[str],
) -> list[Row]:
    """A row for each group.

    Args:
        groups: The ensembles; those of one order next to each other, by number of members.
        scores: For each group, Dice of every ensemble on each case at P > 0.5, and after post-processing.
        people: The person of each case.
    """
    most = max(group.members for group in groups)
    everyone = next(plain for group, (plain, _) in zip(groups, scores, strict=True) if group.members == most)[0]
    rows = []
    before: Group | None = None
    former = np.zeros(0)
    for group, (plain, by_rule) in zip(groups, scores, strict=True):
        own = plain.mean(axis=0)
        adds = before is not None and before.order == group.order and group.order in (GREEDY, RANDOM)
        gain = estimate_mean(own - former, people) if adds else None
        each = plain.mean(axis=1)
        rows.append(
            Row(
                group,
                dice=estimate_mean(own, people),
                lowest=float(each.min()),
                highest=float(each.max()),
                gain=gain,
                minus_all=estimate_mean(own - everyone, people),
                by_rule=estimate_mean(by_rule.mean(axis=0), people),
            )
        )
        before, former = group, own
    return rows
