"""Batches of augmented patches, cut from the cases' arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mapping_stroke.dataset.arrays import CaseArrays, Corner, place_anywhere, place_on_lesion
from mapping_stroke.dataset.sources import Cases, CaseSource, draw_case
from mapping_stroke.images.nifti import Shape
from mapping_stroke.training.augment import change_intensity, cut_warped, draw_warp
from mapping_stroke.training.mixing import Blend, blend_patches, carve_into
from mapping_stroke.training.schemes import NO_MIXING, Augmentation, Mixing

LARGEST_SHARE = 0.5
"""Largest share of a GPU's free memory for cases; the rest is for the network and its activations."""


def bring_to(device: torch.device, cases: Cases) -> Cases:
    """Copy cases to a GPU if all of them fit; otherwise return them as they are.

    Cases that do not fit are read patch by patch: at every step, only the box of a patch is copied to the GPU.

    Args:
        device: The training device.
        cases: Cases mapped from disk; a source makes its cases on the device already, and is returned as it is.
    """
    if isinstance(cases, CaseSource) or device.type == "cpu" or not has_room(device, sum(c.bytes for c in cases)):
        return cases
    return [case.to(device) for case in cases]


def has_room(device: torch.device, wanted_bytes: int) -> bool:
    """Whether a GPU has enough free memory for cases; always True for other devices."""
    if device.type != "cuda":
        return True
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return wanted_bytes <= LARGEST_SHARE * free_bytes


LESION_SHARE = 0.33
"""Of a batch's n patches, those from index round(n x 0.67) are centred on a lesion voxel. Source: nnU-Net."""


@dataclass(frozen=True)
class Share:
    """One process's share of a batch; the whole batch for a single process.

    Attributes:
        batch: Patches of all processes together, a multiple of `processes`.
        process: Rank of the process, from 0.
        processes: Number of processes.
    """

    batch: int
    process: int = 0
    processes: int = 1

    @property
    def indices(self) -> range:
        """Indices in the batch."""
        own = self.batch // self.processes
        return range(own * self.process, own * (self.process + 1))


@dataclass(frozen=True, eq=False)
class Batch:
    """Patches and their reference.

    Attributes:
        scan: z-scores, 0 in the background.
        target: 1 inside a lesion, `UNSURE` in voxels without loss, 0 elsewhere.
        case_ids: Case of each patch.
        blend: Patches mixed in; None for none.
    """

    scan: Float[Tensor, "n 1 x y z"]
    target: Int[Tensor, "n x y z"]
    case_ids: tuple[str, ...]
    blend: Blend | None = None


@dataclass(frozen=True, eq=False)
class Randomness:
    """The two random generators of a training: parameters on the CPU, noise on the training device."""

    numbers: np.random.Generator
    noise: torch.Generator

    @classmethod
    def from_seed(cls, seed: Sequence[int], device: torch.device) -> "Randomness":
        """Independent generators from a sequence of integers, such as (seed, scheme, fold)."""
        sequence = np.random.SeedSequence(list(seed))
        noise = torch.Generator(device)
        noise.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))  # torch takes 63 bits
        return cls(np.random.default_rng(sequence), noise)

    def of_patch(self, seed: int) -> "Randomness":
        """The generators of one patch; that of the noise is reseeded, since making new ones on a GPU is slow."""
        return Randomness(np.random.default_rng(seed), self.noise.manual_seed(seed))


def draw_batch(
    cases: Cases,
    patch: Shape,
    batch: int | Share,
    augmentation: Augmentation,
    random: Randomness,
    mixing: Mixing = NO_MIXING,
) -> Batch:
    """Draw patches of random cases, some centred on a lesion, each augmented on the device of `random.noise`.

    Every patch has its own generators, seeded from `random`, so it is the same whichever process draws it. CarveMix
    happens before patches are cut, mixup after their augmentation.

    Args:
        cases: At least one.
        patch: Size of a patch in voxels.
        batch: Number of patches, or one process's share of them.
        augmentation: Augmentation of each patch.
        random: Random generators; left in the same state by every share.
        mixing: CarveMix and mixup.
    """
    share = batch if isinstance(batch, Share) else Share(batch)
    first_on_lesion = round(share.batch * (1 - LESION_SHARE))
    # seeds of all patches, so that every process advances the generator equally
    seeds = random.numbers.integers(2**63, size=share.batch)
    indices = list(share.indices)
    with_neighbour = mixing.blend_alpha > 0 and len(indices) < share.batch
    if with_neighbour:
        indices.insert(0, (indices[0] - 1) % share.batch)  # this process's first patch is blended with it
    pairs, case_ids = [], []
    for index in indices:
        of_patch = random.of_patch(int(seeds[index]))
        case = _draw_case(cases, mixing, of_patch.numbers)
        pairs.append(_draw_patch(case, patch, augmentation, of_patch, on_lesion=index >= first_on_lesion))
        case_ids.append(case.case_id)
    scans, targets = zip(*pairs, strict=True)
    scan, target, blend = torch.stack(scans)[:, None], torch.stack(targets), None
    if mixing.blend_alpha > 0:
        scan, blend = blend_patches(scan, target, mixing.blend_alpha, random.numbers)
    drawn = Batch(scan, target, tuple(case_ids), blend)
    return _without_first(drawn) if with_neighbour else drawn


def _draw_case(cases: Cases, mixing: Mixing, rng: np.random.Generator) -> CaseArrays:
    case = draw_case(cases, rng)
    return carve_into(case, cases, mixing.carve_probability, rng) if mixing.carve_probability > 0 else case


def _draw_patch(
    case: CaseArrays, patch: Shape, augmentation: Augmentation, random: Randomness, *, on_lesion: bool
) -> tuple[Float[Tensor, "x y z"], Int[Tensor, "x y z"]]:
    rng = random.numbers
    if on_lesion:
        corner = place_on_lesion(case.scan.shape, patch, case.lesion_voxels, rng)
    else:
        corner = place_anywhere(case.scan.shape, patch, rng)
    return cut_patch(case, corner, patch, augmentation, random)


def cut_patch(
    case: CaseArrays, corner: Corner, patch: Shape, augmentation: Augmentation, random: Randomness
) -> tuple[Float[Tensor, "x y z"], Int[Tensor, "x y z"]]:
    """Cut and augment a patch with this lowest voxel; `random` holds the patch's own generators."""
    rng = random.numbers
    scan, target = cut_warped(case, corner, patch, draw_warp(augmentation, patch, rng), random.noise)
    scan = change_intensity(scan, augmentation, rng, random.noise)
    mirrored = [axis for axis, share in enumerate(augmentation.mirror_probabilities) if rng.random() < share]
    return scan.flip(mirrored), target.flip(mirrored)


def _without_first(batch: Batch) -> Batch:
    blend = None if batch.blend is None else Blend(batch.blend.share, batch.blend.target[1:])
    return Batch(batch.scan[1:], batch.target[1:], batch.case_ids[1:], blend)
