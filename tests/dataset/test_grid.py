import numpy as np

from mapping_stroke.dataset.grid import ATLAS_GRID, Grid, coarser

GRID = Grid((6, 7, 8), 1.0, (-2.0, -3.0, -1.0))


def test_the_grid_of_atlas_is_as_published() -> None:
    assert ATLAS_GRID.shape == (197, 233, 189)
    np.testing.assert_array_equal(ATLAS_GRID.affine, [[1, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])


def test_a_box_of_a_grid_keeps_its_place() -> None:
    part = GRID.crop((slice(1, 3), slice(2, 6), slice(0, 8)))
    assert part == Grid((2, 4, 8), 1.0, (-1.0, -1.0, -1.0))
    assert coarser(GRID, 3).shape == (2, 3, 3)
