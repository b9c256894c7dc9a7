"""A made-up brain, small and with known tissues."""

import pytest
import torch

from mapping_stroke.dataset.grid import ATLAS_GRID, Grid, coarser
from mapping_stroke.simulation.brain import Brain, build_brain
from mapping_stroke.simulation.lesions import allowed_region
from mapping_stroke.simulation.volume import Region, Volume

GRID = coarser(ATLAS_GRID, 3)


def head(grid: Grid) -> tuple[Volume, Volume]:
    """T1w intensities (CSF 20, grey 60, white 100) and labels (1, 2, 3) of an egg with two ventricles."""
    x, y, z = grid.axes_mm(torch.device("cpu"))
    y, z = y + 18, z - 9
    radius = torch.sqrt((x / 66) ** 2 + (y / 84) ** 2 + (z / 62) ** 2)
    labels = torch.zeros(grid.shape)
    for label, size in ((1.0, 1.0), (2.0, 0.95), (3.0, 0.8)):
        labels[radius < size] = label
    ventricles = ((x.abs() - 12) / 8) ** 2 + (y / 30) ** 2 + (z / 14) ** 2 < 1
    labels[ventricles] = 1.0
    return torch.tensor([0.0, 20.0, 60.0, 100.0])[labels.long()], labels


@pytest.fixture(scope="session")
def brain() -> Brain:
    t1, labels = head(GRID)
    return build_brain(t1, torch.stack([labels == 2, labels == 3]).float(), GRID)


@pytest.fixture(scope="session")
def allowed(brain: Brain) -> Region:
    return allowed_region(brain)
