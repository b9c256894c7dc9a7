"""What a second network around the candidates could bring at most: the candidates of kept maps beside the lesions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from tyro.conf import Positional

from benchmarks.benchmark import Benchmark
from benchmarks.heading import describe_head
from mapping_stroke.console import track
from mapping_stroke.errors import FileError
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.images.image import Mask
from mapping_stroke.lesions import FULLY_CONNECTED, Lesions, find_lesions
from mapping_stroke.models.judge import StoredMap

LEVEL, MARGIN_VOX = 0.1, 2
"""P(lesion) above which a voxel belongs to a candidate, and the width of the border that a second network could add."""
LOADS_ML = ((0.0, 1.0), (1.0, 5.0))


@dataclass(frozen=True)
class Candidates(Benchmark):
    """List what a second network around the candidates of a model could bring, if it were perfect there."""

    maps: Positional[Path]
    """Folder of the maps that `mapping models fit --keep-maps` left."""

    def report(self) -> str:
        """Read all maps with a small lesion load, and give the means."""
        paths = _stored(self.maps)
        return describe_candidates(
            [bound for path in track(paths, "Reading maps", len(paths)) if (bound := find_bound(path)) is not None]
        )


@dataclass(frozen=True)
class Bound:
    """One case.

    Attributes:
        load_ml: Volume of its lesions.
        dice: Dice at P > 0.5.
        outlined: Dice if every candidate that holds a part of a lesion were outlined perfectly; the other candidates
            keep what they have above P > 0.5.
        rejected: Dice if those others were also rejected.
        candidates: Number of candidates.
        found: Whether some candidate holds a part of a lesion.
    """

    load_ml: float
    dice: float
    outlined: float
    rejected: float
    candidates: int
    found: bool


def find_bound(path: Path) -> Bound | None:
    """The bound for one map; None for a scan without lesion, or with more than the largest load.

    Raises:
        FileError: The map is damaged.
    """
    stored = StoredMap.read(path)
    reference = stored.reference
    load_ml = 0.0 if reference is None else float(reference.sum()) * stored.voxel_volume_mm3 / 1000
    if reference is None or not 0 < load_ml < LOADS_ML[-1][1]:
        return None
    marked = stored.probability > np.float32(0.5)
    candidates = stored.probability > np.float32(LEVEL)
    found = find_lesions(candidates, FULLY_CONNECTED)
    true = _holding(found, candidates, reference)
    reached = reference & ndimage.binary_dilation(true, FULLY_CONNECTED, MARGIN_VOX)
    others = marked & candidates & ~true
    return Bound(
        load_ml,
        dice(marked, reference),
        dice(reached | others, reference),
        dice(reached, reference),
        found.count,
        bool(true.any()),
    )


def _holding(found: Lesions, candidates: Mask, reference: Mask) -> Mask:
    """The candidates, which are labelled, that share a voxel with a lesion."""
    touched = np.zeros(found.count + 1, np.bool_)
    touched[found.labels[reference[found.box]]] = True
    touched[0] = False
    true = np.zeros_like(candidates)
    true[found.box] = touched[found.labels]
    return true


def describe_candidates(bounds: Sequence[Bound]) -> str:
    """The means by lesion load, as Markdown."""
    lines = describe_head(
        "Upper bound of a second network around the candidates", "python -m benchmarks candidates MAPS", ["scipy"]
    )
    lines += [
        f"A candidate is a connected part of P > {LEVEL:g}. The bound supposes that a second network outlines every",
        f"candidate that holds a part of a lesion perfectly, up to {MARGIN_VOX} voxels beyond the candidate.",
        "",
        "| Lesion load | Cases | Lesion among the candidates | Candidates a case | Dice at P > 0.5 "
        "| perfectly outlined | and all others rejected |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for low, high in LOADS_ML:
        among = [bound for bound in bounds if low <= bound.load_ml < high]
        if among:
            lines.append(_row(f"{low:g} to {high:g} mL", among))
    return "\n".join(lines) + "\n"


def _row(label: str, among: Sequence[Bound]) -> str:
    means = [float(np.mean([getattr(bound, name) for bound in among])) for name in ("dice", "outlined", "rejected")]
    found, candidates = sum(bound.found for bound in among), float(np.mean([bound.candidates for bound in among]))
    scores = " | ".join(f"{mean:.3f}" for mean in means)
    return f"| {label} | {len(among)} | {found} | {candidates:.1f} | {scores} |"


def _stored(folder: Path) -> Sequence[Path]:
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise FileError(f"{folder}: holds no maps, expected those of `mapping models fit --keep-maps`")
    return paths
