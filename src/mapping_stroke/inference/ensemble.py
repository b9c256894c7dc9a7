"""The model average: one running mean of the members' probability maps, and their spread."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64

from mapping_stroke.dataset.preprocess import Prepared, PreprocessSpec, prepare_scan
from mapping_stroke.errors import BundleError, ConfigError
from mapping_stroke.image import Image, Probability
from mapping_stroke.inference.sliding_window import WindowConfig, predict_probability
from mapping_stroke.networks.bundle import Member, read_member


@dataclass(frozen=True, eq=False)
class Average:
    """What the members say together, on the scan's own grid.

    Attributes:
        probability: Mean P(lesion), in [0, 1].
        uncertainty: Standard deviation of P(lesion) over the members (divisor n), in [0, 0.5]; 0 for one member.
        members: How many were averaged.
    """

    probability: Probability
    uncertainty: Float32[np.ndarray, "x y z"]
    members: int


class RunningAverage:
    """Mean and spread of maps on one grid, taken one at a time: memory does not grow with their number.

    The probability maps are averaged, not the logits: the paper's way (nnU-Net v2 averages logits).
    """

    def __init__(self) -> None:
        self.members = 0
        self._mean: Float64[np.ndarray, "x y z"] = np.zeros((0, 0, 0))
        self._squares: Float64[np.ndarray, "x y z"] = np.zeros((0, 0, 0))

    def add(self, probability: Probability) -> None:
        """Take one more member's map (Welford's running mean and sum of squares)."""
        self.members += 1
        if self.members == 1:
            self._mean, self._squares = probability.astype(np.float64), np.zeros(probability.shape)
            return
        difference = probability - self._mean
        self._mean += difference / self.members
        self._squares += difference * (probability - self._mean)

    def result(self) -> Average:
        """What has been averaged so far; raises `BundleError` before the first map."""
        if self.members == 0:
            raise BundleError("a model average needs at least one member; train one, or name a folder that holds some")
        spread = np.sqrt(np.maximum(self._squares, 0) / self.members)
        return Average(self._mean.astype(np.float32), spread.astype(np.float32), self.members)


def average(probabilities: Iterable[Probability]) -> Average:
    """Mean and spread of probability maps on one grid; raises `BundleError` where there is none."""
    running = RunningAverage()
    for probability in probabilities:
        running.add(probability)
    return running.result()


def predict_members(
    members: Sequence[Member], scan: Image, config: WindowConfig, device: torch.device
) -> Iterator[Probability]:
    """Each member's P(lesion) on the scan's own grid; the scan is prepared once for each preprocessing."""
    prepared: dict[PreprocessSpec, Prepared] = {}
    for member in members:
        spec = member.card.preprocess
        if spec not in prepared:
            prepared[spec] = prepare_scan(scan, spec)
        voxels = torch.from_numpy(prepared[spec].voxels).to(device)
        probability = predict_probability(member.network, voxels, member.card.patch, config)
        yield prepared[spec].restore(probability.cpu().numpy())


def read_members(folders: Sequence[Path], device: torch.device) -> list[Member]:
    """Load members once for a whole cohort."""
    return [read_member(folder, device) for folder in folders]


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` takes a CUDA GPU where there is one, else Apple's MPS, else the CPU.

    Raises:
        ConfigError: There is no device of this name here.
    """
    there = [f"cuda:{index}" for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
    there = [*(["cuda", *there] if there else []), *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
    if name not in (*there, "auto"):
        raise ConfigError(f"no device {name!r} on this machine; expected auto or one of {', '.join(there)}")
    return torch.device(there[0] if name == "auto" else name)
