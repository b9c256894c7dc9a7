"""How well a model finds real lesion masks that are painted into real heads as fluid, which no training has seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from benchmarks.benchmark import Benchmark, require_at_least
from benchmarks.brain import lay_pair, place_head
from benchmarks.brain_pairs import Pair, find_heads, plan_pairs, read_masks
from benchmarks.heading import describe_head
from benchmarks.painted_strokes import Head, paint
from mapping_stroke.cohort.segmenter import Segmenter
from mapping_stroke.console import say
from mapping_stroke.errors import RegistrationError
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.images.image import read_image
from mapping_stroke.models.judge import make_model_segmenter
from mapping_stroke.models.settings import Prediction
from mapping_stroke.networks.bundle import open_bundle

SEED = 3
FOUND = 0.05
"""A lesion whose mask reaches this Dice is found."""


@dataclass(frozen=True)
class Painted(Benchmark):
    """Paint real lesion masks into real whole heads, filled with the head's own CSF, and segment them."""

    heads: Positional[tuple[Path, ...]]
    """T1w scans of whole heads, or folders of them."""
    lesions: Path
    """Folder of the lesion masks."""
    count: int = 16
    """Number of painted heads."""
    model: str = "default"
    """As for `mapping segment`."""
    device: str = "auto"
    """As for `mapping segment`."""

    def report(self) -> str:
        """Paint, segment and score."""
        require_at_least("--count", self.count)
        bundle = open_bundle(self.model)
        segmenter = make_model_segmenter(bundle, Prediction(device=self.device))
        found = list(score_painted(self, segmenter))
        return describe_painted(found, f"{bundle.card.name}, SHA-256 `{bundle.sha256[:12]}...`")


@dataclass(frozen=True)
class Found:
    """One painted head.

    Attributes:
        head: Name of the head.
        load_ml: Volume of the painted lesion.
        at_surface: Whether it reaches the surface of the cortex.
        half: Dice at P > 0.5.
        ruled: Dice with the rule of the model.
        outside_ml: Volume that the rule marks outside the lesion.
    """

    head: str
    load_ml: float
    at_surface: bool
    half: float
    ruled: float
    outside_ml: float


def score_painted(bench: Painted, segmenter: Segmenter) -> Iterator[Found]:
    """Yield the scores of one painted head after the other.

    Raises:
        CaseError: No whole head, or no usable mask.
    """
    paths = find_heads(bench.heads)
    rng = np.random.default_rng(SEED)
    pairs = plan_pairs(len(paths), read_masks(bench.lesions, bench.count, rng), bench.count, rng)
    for number, path in enumerate(paths):
        try:
            head = place_head(path, read_image(path))
        except RegistrationError as error:
            say(f"{path.name}: {error}")
            continue
        for index, pair in enumerate(pairs):
            if pair.head == number:
                yield from _score(head, pair, segmenter, np.random.default_rng([SEED, index]))


def _score(head: Head, pair: Pair, segmenter: Segmenter, rng: np.random.Generator) -> Iterator[Found]:
    """The scores of one lesion in a head; none if too little of it fits."""
    lesion = lay_pair(head, pair)
    if lesion is None:
        return
    voxel_ml = head.scan.voxel_volume_mm3 / 1000
    load_ml = float(lesion.sum()) * voxel_ml
    segmented = segmenter.segment(segmenter.load(paint(head, lesion, rng)))
    half, ruled = dice(segmented.probability > np.float32(0.5), lesion), dice(segmented.mask, lesion)
    outside_ml = float((segmented.mask & ~lesion).sum()) * voxel_ml
    found = Found(head.name, load_ml, pair.at_surface, half, ruled, outside_ml)
    say(f"{head.name}, {load_ml:.1f} mL: Dice {ruled:.2f}")
    yield found


def describe_painted(found: Sequence[Found], model: str) -> str:
    """The means and every head, as Markdown."""
    lines = describe_head(
        "Real lesion masks painted into real heads",
        "python -m benchmarks painted HEADS --lesions LESIONS",
        ["openvino"],
    )
    lines += [
        f"Model: {model}. The cavities have the intensity of the head's own ventricles. No training has seen them,",
        "but they are not patients: real scars are less uniform.",
        "",
        "| Lesions | Heads | Dice at P > 0.5 | Dice with the rule | Not found | Marked outside, median mL |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    kinds = (("all", (True, False)), ("at the surface", (True,)), ("deep", (False,)))
    for label, among in ((label, [one for one in found if one.at_surface in wanted]) for label, wanted in kinds):
        if among:
            half, ruled = (float(np.mean([getattr(one, name) for one in among])) for name in ("half", "ruled"))
            missed = sum(one.ruled < FOUND for one in among)
            outside_ml = float(np.median([one.outside_ml for one in among]))
            lines.append(f"| {label} | {len(among)} | {half:.3f} | {ruled:.3f} | {missed} | {outside_ml:.2f} |")
    lines += ["", "| Head | Lesion, mL | At the surface | Dice at P > 0.5 | Dice with the rule |"]
    lines += ["| --- | ---: | --- | ---: | ---: |"]
    for one in sorted(found, key=lambda one: one.load_ml):
        surface = "yes" if one.at_surface else "no"
        lines.append(f"| {one.head} | {one.load_ml:.1f} | {surface} | {one.half:.2f} | {one.ruled:.2f} |")
    return "\n".join(lines) + "\n"
