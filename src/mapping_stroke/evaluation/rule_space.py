"""Which post-processing rules are tried when one is fitted, as data."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from mapping_stroke.postprocess import PostprocessConfig, Thresholds


def _pairs(cores: Iterable[float], edges: Iterable[float]) -> tuple[Thresholds, ...]:
    edges = tuple(edges)
    return tuple(Thresholds(core, edge) for core in cores for edge in edges if edge <= core)


SPACE: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "least_peak": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "small": _pairs((0.3, 0.4, 0.5, 0.6, 0.7, 0.8), (0.3, 0.4, 0.5)),
        "large": _pairs((0.4, 0.5, 0.55, 0.6, 0.7), (0.3, 0.4, 0.5)),
        "smallest_mm3": (0.0, 10.0, 30.0, 100.0, 300.0),
        "small_load": (500.0, 1000.0, 3000.0, 10000.0),
        "many_lesions": (4, 1000),
    }
)
"""Setting of a rule to the values that are tried for it, in the order in which settings are changed. A voxel of 1 mm
has 1 mm3; the load ends of 500 and 10000 mm3 halve the small and the large half of ATLAS R2.0's cases."""


def start_rule(rule: PostprocessConfig) -> PostprocessConfig:
    """Where the search begins: the rule in mm3; of one in voxels the load's end is taken for that many mm3."""
    return replace(rule, manner="grow", load_unit="mm3")


def variants(rule: PostprocessConfig, setting: str) -> Iterator[PostprocessConfig]:
    """The rule itself, then with every other value of a setting."""
    yield rule
    for value in SPACE[setting]:
        changed = replace(rule, **{setting: value})
        if changed != rule:
            yield changed


def as_applied(
    rule: PostprocessConfig, peak: float, load_vox: int, voxel_volume_mm3: float
) -> PostprocessConfig | None:
    """What of a rule has an effect on a map: rules that are alike in this give the same mask; None for an empty one.

    Args:
        rule: Any rule.
        peak: The map's maximum.
        load_vox: Its voxels at P > 0.5.
        voxel_volume_mm3: Volume of one voxel.
    """
    if peak <= rule.least_peak:
        return None
    load = load_vox * (voxel_volume_mm3 if rule.load_unit == "mm3" else 1)
    if load < rule.small_load:
        return replace(rule, large=rule.small, small_load=1e300, load_unit="mm3", least_peak=0.0)
    return replace(rule, small=rule.large, small_load=0.0, load_unit="mm3", many_lesions=0, least_peak=0.0)
