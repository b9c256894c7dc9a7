"""BIDS file names: their entities, whose scan a name is, and which mask belongs to which scan."""

from collections.abc import Mapping
from dataclasses import dataclass

DERIVED_ENTITIES = ("space", "desc", "res", "den", "label", "seg")
"""Entities that say what was made of a scan; all others say which scan it is."""
NATIVE_SPACES = ("", "orig", "native", "individual", "scanner", "t1w")
"""Values of `space` that mean the scan's own grid (lower case)."""


@dataclass(frozen=True)
class BidsName:
    """A name such as `sub-1_ses-2_space-orig_label-lesion_mask`.

    Attributes:
        entities: `sub`, `ses`, `space`, ... to their values, in the order of the name.
        words: Parts that are no entity, before the suffix, such as `lesion` in `sub-1_lesion_mask`.
        suffix: The last part, such as `T1w` or `mask`.
    """

    entities: Mapping[str, str]
    words: tuple[str, ...]
    suffix: str

    @property
    def case_id(self) -> str:
        """The entities that say which scan it is, such as `sub-1_ses-2`."""
        return "_".join(f"{key}-{value}" for key, value in self.entities.items() if key not in DERIVED_ENTITIES)

    @property
    def is_scan(self) -> bool:
        """Whether this names a T1w scan; the phase, or the real or imaginary part of one, is none."""
        return self.suffix == "T1w" and not self.words and self.entities.get("part", "mag") == "mag"

    @property
    def medium(self) -> str:
        """The contrast medium that was given before the scan, such as `gadolinium`; empty where none is named."""
        return self.entities.get("ce", "")

    @property
    def is_lesion_mask(self) -> bool:
        """Whether this names a lesion mask, not a brain mask: `label-L`, or the word lesion, and suffix mask or roi."""
        told = (self.entities.get("label", ""), self.entities.get("desc", ""), *self.words)
        lesion = self.entities.get("label") == "L" or any("lesion" in word.lower() for word in told)
        return lesion and self.suffix in ("mask", "roi")


def parse_bids_name(stem: str) -> BidsName | None:
    """Take a file name without its image suffix apart; None where it does not start with `sub-`."""
    *parts, suffix = stem.split("_")
    pairs = [part.partition("-") for part in parts]
    entities = {key: value for key, dash, value in pairs if dash}
    if not parts or pairs[0][0] != "sub" or not entities.get("sub") or "-" in suffix:
        return None
    return BidsName(entities, tuple(part for part in parts if "-" not in part), suffix)


def belongs(mask: BidsName, scan: BidsName) -> bool:
    """Whether a mask is of this scan: same person, session and space, and no entity that contradicts.

    An entity that only the scan has (`run`, `acq`, ...) does not contradict; `desc` and `label` are never compared.
    """
    if any(mask.entities.get(key) != scan.entities.get(key) for key in ("sub", "ses")):
        return False
    if _space(mask) != _space(scan):
        return False
    names = [key for key in mask.entities if key not in DERIVED_ENTITIES]
    return all(_same(mask.entities[key], scan.entities.get(key, "")) for key in names)


def _space(name: BidsName) -> str:
    space = name.entities.get("space", "")
    return "" if space.lower() in NATIVE_SPACES else space


def _same(value: str, other: str) -> bool:
    if value.isdigit() and other.isdigit():
        return int(value) == int(other)
    return value == other
