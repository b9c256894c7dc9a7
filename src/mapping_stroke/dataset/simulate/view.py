"""What of a head a scan shows: a brain cut out well or badly, or the whole head; all of it or a part."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from mapping_stroke.dataset.grid import Grid
from mapping_stroke.dataset.simulate.anatomy import CSF_LEVEL, Brain
from mapping_stroke.dataset.simulate.volume import Volume, smooth_field

Kind = Literal["intracranial", "stripped", "too much", "too little", "head"]


@dataclass(frozen=True)
class View:
    """What is left of the head.

    Attributes:
        kind: `intracranial`: the brain and all CSF around it, see `meninges`; `stripped`: the brain; `too much`: with
            bits of what is around it; `too little`: bits of it are missing; `head`: everything.
        margin_mm: Of `stripped`: how much of the outermost CSF is missing. Of the next two: how much of the
            surroundings, or of the brain, at most.
        lowest_mm: Nothing is shown below this height (MNI z); None where nothing is missing.
        highest_mm: Nor above this.
        faceless_mm: Nothing in front of a slanting plane so far before the centre, as after defacing; None for a face.
        air: Whether air shows noise; otherwise it is 0.
        rim_level: Intensity of what was cut off, as far as edge voxels show it; CSF is 0.25, grey matter 0.65.
    """

    kind: Kind
    margin_mm: float = 0.0
    lowest_mm: float | None = None
    highest_mm: float | None = None
    faceless_mm: float | None = None
    air: bool = False
    rim_level: float = CSF_LEVEL


def draw_view(kind: Kind, rng: np.random.Generator) -> View:
    """Draw what is shown."""
    lowest = float(rng.uniform(-75, -40)) if rng.random() < 0.15 else None
    highest = float(rng.uniform(55, 75)) if rng.random() < 0.08 else None
    if kind != "head":
        largest = {"intracranial": 0.0, "stripped": 3.5, "too much": 9.0, "too little": 9.0}[kind]
        rim = float(rng.uniform(0.45, 0.7) if rng.random() < 0.6 else rng.uniform(CSF_LEVEL, 0.45))
        return View(kind, float(rng.uniform(0, 1) * largest), lowest, highest, rim_level=rim)
    return View(
        kind,
        lowest_mm=float(rng.uniform(-115, -50)),
        highest_mm=highest,
        faceless_mm=float(rng.uniform(58, 76)) if rng.random() < 0.35 else None,
        air=bool(rng.random() < 0.5),
    )


def cover(brain: Brain, around_mm: Volume | None, view: View, rng: np.random.Generator) -> Volume:
    """How much of each voxel is left by the stripping, in [0, 1], before the deformation; not for whole heads.

    Args:
        brain: The brain.
        around_mm: Distance outside it, for `too much`.
        view: What is left.
        rng: Source of where it is too much or too little.
    """
    inside = brain.inside.float()
    if view.kind == "stripped":
        if view.margin_mm < 0.7:
            return inside
        rim = torch.sigmoid((view.margin_mm + 1 - brain.depth_mm) * 2) * torch.sigmoid((brain.near_csf - 0.62) * 20)
        return inside * (rim < 0.5)
    waves = smooth_field(brain.grid.shape, brain.vox(float(rng.uniform(12, 28))), rng, brain.device)
    if view.kind == "too much":
        assert around_mm is not None
        return torch.maximum(inside, ((view.margin_mm * waves.clamp(0, 2) - around_mm) * 2).clamp(0, 1))
    missing_mm = view.margin_mm * (waves - 0.4).clamp(0, 2)
    return inside * ((brain.depth_mm - missing_mm + 0.5) * 2).clamp(0, 1) * (missing_mm < 25)


def limit(coverage: Volume, grid: Grid, view: View) -> Volume:
    """Leave out what lies beyond the field of view, or was removed with the face."""
    _, y, z = grid.axes_mm(coverage.device)
    if view.lowest_mm is not None:
        coverage = coverage * (z >= view.lowest_mm)
    if view.highest_mm is not None:
        coverage = coverage * (z <= view.highest_mm)
    if view.faceless_mm is not None:
        coverage = coverage * (0.8 * y - 0.6 * z < view.faceless_mm)
    return coverage
