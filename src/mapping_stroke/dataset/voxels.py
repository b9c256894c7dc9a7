"""Sizes of voxels, and what a number of voxels means if they are not those of ATLAS R2.0."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import prod

from mapping_stroke.dataset.cases import Case
from mapping_stroke.rules import PostprocessConfig

ABOUT = 0.1
"""Voxels of 0.9 to 1.1 mm3 count as those of ATLAS R2.0, which are 1 mm3."""


@dataclass(frozen=True)
class VoxelVolumes:
    """The smallest and the largest volume of a voxel in some images."""

    smallest_mm3: float
    largest_mm3: float

    @property
    def are_of_atlas(self) -> bool:
        """Whether all are about 1 mm3."""
        return max(abs(one - 1) for one in (self.smallest_mm3, self.largest_mm3)) <= ABOUT

    def of(self, count: float = 1.0) -> str:
        """The volume of this many voxels without its unit, such as `64`, or `0.7 to 1.2` if voxels differ."""
        return " to ".join(dict.fromkeys(f"{count * one:.3g}" for one in (self.smallest_mm3, self.largest_mm3)))


def find_volumes(volumes_mm3: Iterable[float]) -> VoxelVolumes | None:
    """The range of some volumes; None for none."""
    found = list(volumes_mm3)
    return VoxelVolumes(min(found), max(found)) if found else None


def voxels_of(cases: Sequence[Case], case_ids: Collection[str]) -> VoxelVolumes | None:
    """The range of the volumes of a voxel in some of the cases; None if none of them is known."""
    return find_volumes(prod(case.spacing_mm) for case in cases if case.case_id in case_ids)


def voxel_rule_words(config: PostprocessConfig, volumes: VoxelVolumes | None) -> str:
    """What a rule's limit in voxels is in these images; empty for another rule, and for voxels as in ATLAS R2.0."""
    if not config.counts_voxels or volumes is None or volumes.are_of_atlas:
        return ""
    limit = config.small_load
    return (
        f"a load is small below {limit:g} voxels, which is {volumes.of(limit / 1000)} mL with voxels of {volumes.of()} "
        f"mm3, not {limit / 1000:g} mL as with those of ATLAS R2.0 (1 mm3)"
    )
