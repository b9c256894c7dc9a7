"""The look of a chronic stroke on a T1-weighted scan: the values that are drawn for a case."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mapping_stroke.dataset.simulate.anatomy import CSF_LEVEL

Kind = Literal["cavity", "mixed", "gliotic"]

KINDS: tuple[Kind, ...] = ("cavity", "mixed", "gliotic")
KIND_SHARES = (0.5, 0.3, 0.2)
"""How often each of `KINDS` is drawn, at any size."""
FALL_MM = (0.7, 4.0)
"""Shortest and longest length over which gliosis falls off with depth."""
ISLANDS_FROM_MM3, WITH_ISLANDS = 8_000.0, 0.6
"""Loads from here on may spare islands of tissue, and how many of these cases do."""
FADING, BLEEDING, LAMINAR = 0.3, 0.025, 0.025
"""Shares of the cases that fade, that show haemosiderin, and that show laminar necrosis."""
DEGENERATION_FROM_MM3 = 30_000.0
"""From this load on the tracts below a lesion shrink too."""
REACH_MM = 12.0
"""How far around a lesion white matter may look darker."""


@dataclass(frozen=True)
class Appearance:
    """The look of an old infarct. Levels are those of `anatomy`: CSF 0.25, grey 0.65, white 1.

    Attributes:
        kind: `cavity`: fluid in the middle; `mixed`: patches of fluid and gliosis; `gliotic`: hardly any fluid.
        kept: Share of the tissue's brightness above CSF that gliosis keeps at the border, in [0, 1].
        fall_mm: Depth over which that share falls to 1/e, where fluid takes over.
        contrast: Share of the contrast between grey and white matter that gliosis keeps, in [0, 1].
        cavity_level: Intensity of the fluid with the strands in it.
        border_mm: Standard deviation of the border's blur.
        halo: Share of its brightness above CSF that white matter loses right beside the lesion.
        halo_mm: How far this reaches; it fades outwards.
        islands: Share of the lesion that is spared tissue of gyral width; the label holds it all the same.
        fade: How far the lesion disappears in some parts of it, 0 nowhere to 1 completely.
        texture: Strength of the texture inside.
        blood: Strength of dark remains of blood at the border, 0 none to 1.
        necrosis: Strength of bright cortex at the border, 0 none to 1.
        degeneration: How far peduncle and pons below a large lesion shrink and pale, 0 not at all to 1.
    """

    kind: Kind
    kept: float
    fall_mm: float
    contrast: float
    cavity_level: float
    border_mm: float
    halo: float
    halo_mm: float
    islands: float
    fade: float
    texture: float
    blood: float
    necrosis: float
    degeneration: float


def draw_appearance(load_mm3: float, rng: np.random.Generator) -> Appearance:
    """Draw the look of one case's infarcts; in small ones gliosis and halo are thin."""
    radius_mm = (load_mm3 * 3 / (4 * np.pi)) ** (1 / 3)
    kind = KINDS[int(rng.choice(len(KINDS), p=KIND_SHARES))]
    thinnest, thickest = np.log(FALL_MM)
    islands = load_mm3 >= ISLANDS_FROM_MM3 and rng.random() < WITH_ISLANDS
    halo_mm = min(float(rng.uniform(5.0, REACH_MM)), 2.0 + 1.2 * radius_mm)
    return Appearance(
        kind=kind,
        kept=float(rng.uniform(0.35, 0.85)),
        fall_mm=min(float(np.exp(rng.uniform(thinnest, thickest))), max(0.6 * radius_mm, FALL_MM[0])),
        contrast=float(rng.uniform(0.2, 0.8) if kind == "cavity" else rng.uniform(0.0, 0.3)),
        cavity_level=float(rng.uniform(CSF_LEVEL - 0.015, CSF_LEVEL + 0.02)),
        border_mm=float(rng.uniform(0.4, 1.2)),
        halo=float(rng.uniform(0.0, 0.9)),
        halo_mm=halo_mm,
        islands=float(rng.uniform(0.06, 0.28)) if islands else 0.0,
        fade=float(rng.uniform(0.3, 0.9)) if rng.random() < FADING else 0.0,
        texture=float(rng.uniform(0.5, 1.2)),
        blood=float(rng.uniform(0.5, 1.0)) if rng.random() < BLEEDING else 0.0,
        necrosis=float(rng.uniform(0.5, 1.0)) if rng.random() < LAMINAR else 0.0,
        degeneration=float(rng.uniform(0.0, 1.0)) if load_mm3 >= DEGENERATION_FROM_MM3 else 0.0,
    )
