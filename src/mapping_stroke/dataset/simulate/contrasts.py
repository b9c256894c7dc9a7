"""Brains rendered anew from their tissue maps: other intensities of tissues and of their parts than their scan had."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from mapping_stroke.dataset.simulate.anatomy import CSF_LEVEL, GREY_LEVEL, WHITE_LEVEL, Brain
from mapping_stroke.dataset.simulate.volume import smooth_field

RENDERED = 0.15
"""Share of the cases whose brain is rendered."""


@dataclass(frozen=True)
class Rendering:
    """What each tissue's intensity becomes, by how much it is off in parts of the brain; CSF 0.25, grey 0.65, white 1.

    Attributes:
        kept: Share of the scan's own intensities that is kept, for the texture.
        cortex: Change of grey matter near the surface.
        deep_grey: Of grey matter in the depth.
        cerebellum: Of everything in the cerebellum and below it.
        texture: Standard deviation of the texture of grey and white matter.
    """

    kept: float
    cortex: float
    deep_grey: float
    cerebellum: float
    texture: float


def draw_rendering(rng: np.random.Generator) -> Rendering | None:
    """Draw one; None for most cases, which keep the intensities of their scan."""
    if rng.random() >= RENDERED:
        return None
    return Rendering(
        kept=float(rng.uniform(0.0, 0.4)),
        cortex=float(rng.uniform(-0.12, 0.15)),
        deep_grey=float(rng.uniform(-0.05, 0.28)),
        cerebellum=float(rng.uniform(-0.15, 0.08)),
        texture=float(rng.uniform(0.0, 0.05)),
    )


def render(brain: Brain, rendering: Rendering | None, rng: np.random.Generator) -> Brain:
    """The same brain with intensities made from its tissue maps; `brain` itself where there is no rendering.

    The order of the tissues stays: CSF, grey, white. CSF keeps its intensity.

    Args:
        brain: The brain.
        rendering: How; None changes nothing.
        rng: Source of the texture.
    """
    if rendering is None:
        return brain
    deep = torch.sigmoid((brain.depth_mm - 24) / 4)
    grey = (GREY_LEVEL - CSF_LEVEL + rendering.cortex) + (rendering.deep_grey - rendering.cortex) * deep
    made = CSF_LEVEL + brain.grey * grey + brain.white * (WHITE_LEVEL - CSF_LEVEL)
    _, y, z = brain.grid.axes_mm(brain.device)
    below = torch.sigmoid((-14 + 0.35 * (y + 40) - z) / 4) * torch.sigmoid((-30 - y) / 4)
    texture = smooth_field(brain.grid.shape, max(brain.vox(3.0), 1.0), rng, brain.device)
    made = made * (1 + rendering.cerebellum * below) + rendering.texture * texture * (brain.grey + brain.white)
    t1 = made + rendering.kept * (brain.t1 - made)
    return replace(brain, t1=t1.clamp(min=0.05) * brain.inside)
