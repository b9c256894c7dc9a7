"""Volumes by hemisphere and by the regions of an atlas."""

from pathlib import Path

import numpy as np
import pytest

from bids_data import write_atlas
from mapping_stroke.dataset.sides import hemisphere_ml, lesion_points
from mapping_stroke.errors import CaseError, ImageError
from mapping_stroke.images.image import write_image
from mapping_stroke.space.atlas import ELSEWHERE, read_atlas


def test_points_go_through_the_grid_and_then_the_placement() -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 2, 3] = True
    affine, to_mni = np.diag([-2.0, 2.0, 2.0, 1.0]), np.eye(4)
    to_mni[:3, 3] = (10, 0, -1)
    assert lesion_points(mask, affine, to_mni).tolist() == [[8, 4, 5]]
    assert lesion_points(np.zeros((4, 4, 4), bool), affine, to_mni).shape == (0, 3)


def test_left_is_below_zero_and_the_midplane_is_shared() -> None:
    points = np.array([[-3.0, 0, 0], [-1, 0, 0], [0, 0, 0], [5, 0, 0]])
    assert hemisphere_ml(points, 500.0) == {"left_ml": 1.25, "right_ml": 0.75}
    assert hemisphere_ml(points[:0], 500.0) == {"left_ml": 0, "right_ml": 0}


def test_voxels_count_in_the_region_of_their_centre(tmp_path: Path) -> None:
    atlas = read_atlas(*write_atlas(tmp_path))
    assert atlas.regions == ("left back", "right back", "front", ELSEWHERE)
    points = np.array([[-1.0, -1, 0], [-1, -70, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [200, 0, 0]])
    assert atlas.volumes_ml(points, 1000.0) == {"left back": 2, "right back": 1, "front": 2, ELSEWHERE: 1}
    assert set(atlas.volumes_ml(points[:0], 1000.0).values()) == {0}


def test_other_names_of_columns_and_commas_are_understood(tmp_path: Path) -> None:
    image, _ = write_atlas(tmp_path)
    (tmp_path / "atlas.csv").write_text("Region,LABEL\nback,1\nfront,3\n")
    assert read_atlas(image, tmp_path / "atlas.csv").names == {1: "back", 3: "front"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("index\tcolour\n1\tred\n", "has the columns index, colour, expected one of numbers"),
        ("index\tname\none\tback\n", "a row lacks a whole number or a name"),
        ("index\tname\n1\n", "a row lacks a whole number or a name"),
        ("", "has the columns none"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    image, table = write_atlas(tmp_path)
    table.write_text(text)
    with pytest.raises(CaseError, match=complaint):
        read_atlas(image, table)


def test_an_atlas_that_is_none_is_refused(tmp_path: Path) -> None:
    image, table = write_atlas(tmp_path)
    with pytest.raises(CaseError, match="no such file; name the table"):
        read_atlas(image, tmp_path / "missing.tsv")
    write_image(image, np.full((3, 3, 3), 0.5, np.float32), np.eye(4))
    with pytest.raises(ImageError, match="expected a label atlas"):
        read_atlas(image, table)
