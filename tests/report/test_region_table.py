"""The table "Volume by region"."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping_stroke.report.scan_page import RegionTable, region_html

GUIDE = {"Left frontal lobe": 2.35, "Right frontal lobe": 0.0, "Left basal ganglia": 6.11, "elsewhere": 0.94}
"""The worked example of `docs/how-to/segment-scans.md`."""


def text(volumes_ml: Mapping[str, float | None], **changes: bool) -> str:
    page = re.sub(r"<[^>]*>", " ", region_html(RegionTable("lobes.nii.gz", volumes_ml, **changes)))
    return re.sub(r"\s+", " ", page).strip()


def test_the_example_of_the_guide() -> None:
    assert text(GUIDE) == (
        "Volume by region Region Volume Of all lesions "
        "Left basal ganglia 6.1 mL 65.0 % Left frontal lobe 2.4 mL 25.0 % "
        "1 region without lesion. 0.94 mL (10.0 %) in no region of the atlas. "
        "Regions of lobes.nii.gz; their borders are accurate to some millimetres only."
    )


def test_equal_volumes_keep_the_order_of_the_atlas_and_nothing_may_lie_outside() -> None:
    table = RegionTable("", {"b": 1.0, "a": 1.0, "c": 2.0, "elsewhere": 0.0})
    assert [(row.region, row.share) for row in table.rows] == [("c", 0.5), ("b", 0.25), ("a", 0.25)]
    assert table.rest == ["Nothing lies outside the regions of the atlas."]


def test_without_a_lesion_there_is_only_a_count() -> None:
    assert text({"a": 0.0, "b": 0.0, "elsewhere": 0.0}).startswith("Volume by region 2 regions without lesion. Regions")


def test_a_lesion_in_no_region_at_all() -> None:
    table = RegionTable("", {"a": 0.0, "elsewhere": 3.0}, ("elsewhere",))
    assert (table.rows, table.main(1)) == ([], "no region")
    assert table.rest == ["1 region without lesion.", "3.0 mL (100.0 %) in no region of the atlas."]


def test_an_unknown_place_is_one_plain_line() -> None:
    assert text({"a": None, "elsewhere": None}) == (
        "Volume by region Unknown, because the place of this scan in MNI152 space is not known: it was not registered. "
        "The option --space native registers it."
    )


def test_a_corrected_mask_is_named_and_names_are_escaped() -> None:
    found = region_html(RegionTable("<x>.nii", {"<b>": 1.0, "elsewhere": 0.0}, corrected=True))
    assert "<h2>Volume by region of the corrected mask</h2>" in found
    assert "<td>&lt;b&gt;</td>" in found
    assert "&lt;x&gt;.nii" in found


@given(st.lists(st.floats(0, 500), min_size=2, max_size=6))
def test_shares_add_up_to_the_lesion(volumes: list[float]) -> None:
    *inside, outside = volumes
    table = RegionTable("", {**{str(number): ml for number, ml in enumerate(inside)}, "elsewhere": outside})
    load_ml = sum(volumes)
    shares = sum(row.share for row in table.rows) + (outside / load_ml if load_ml else 0)
    assert shares == pytest.approx(1 if load_ml else 0)
