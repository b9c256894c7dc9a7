"""The table "Volume by region" of a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mapping_stroke.console import counted
from mapping_stroke.report.html import render
from mapping_stroke.report.style import load_words
from mapping_stroke.space.atlas import ELSEWHERE


@dataclass(frozen=True)
class RegionRow:
    """A region with lesion: its volume in mL, and the share of all lesions that lies in it, in [0, 1]."""

    region: str
    volume_ml: float
    share: float


@dataclass(frozen=True)
class RegionTable:
    """Lesion volume by region of the user's atlas.

    Attributes:
        atlas: File name of the atlas.
        volumes_ml: Volume by region in the order of the atlas, and `elsewhere`; None if the place is unknown.
        of_lesions: The region with the largest part of each lesion, the largest lesion first; empty if unknown.
        corrected: Whether these are the volumes of a mask that a person has corrected.
    """

    atlas: str
    volumes_ml: Mapping[str, float | None]
    of_lesions: Sequence[str] = ()
    corrected: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the place of the scan in MNI152 space is known."""
        return None not in self.volumes_ml.values()

    @property
    def rows(self) -> list[RegionRow]:
        """The regions with lesion, the largest volume first; equal ones in the order of the atlas."""
        rows = [row for region, row in self._all.items() if region != ELSEWHERE and row.volume_ml > 0]
        return sorted(rows, key=lambda row: -row.volume_ml)

    @property
    def rest(self) -> list[str]:
        """Sentences about regions without lesion and lesions in no region; none without any lesion."""
        found = self._all
        empty = sum(row.volume_ml == 0 for region, row in found.items() if region != ELSEWHERE)
        sentences = [f"{counted(empty, 'region')} without lesion."] if empty else []
        if outside := found[ELSEWHERE].volume_ml:
            share = found[ELSEWHERE].share
            return [*sentences, f"{load_words(outside)} ({share:.1%}) in no region of the atlas.".replace("%", " %")]
        return [*sentences, "Nothing lies outside the regions of the atlas."] if self.rows else sentences

    def main(self, lesion: int) -> str:
        """The region in which the largest part of a lesion lies, by its number from 1 on."""
        # the smallest of very many lesions share a number
        region = self.of_lesions[min(lesion, len(self.of_lesions)) - 1]
        return "no region" if region == ELSEWHERE else region

    @property
    def _all(self) -> dict[str, RegionRow]:
        known = {region: ml or 0.0 for region, ml in self.volumes_ml.items()}
        load_ml = sum(known.values())
        return {region: RegionRow(region, ml, ml / load_ml if load_ml else 0.0) for region, ml in known.items()}


def region_html(table: RegionTable) -> str:
    """The table alone, as it stands on the page of a scan."""
    return render("regions.html.j2", regions=table)
