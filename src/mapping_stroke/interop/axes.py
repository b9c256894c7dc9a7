"""nnU-Net's arrays have axes z, y, x, then transposed as its plans say; ours have x, y, z."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mapping_stroke.image import Shape


@dataclass(frozen=True)
class Axes:
    """Which axis of nnU-Net's network is our x, y and z."""

    places: Shape = (2, 1, 0)

    @classmethod
    def from_transpose(cls, transpose_forward: Sequence[int]) -> "Axes":
        """From the plans' `transpose_forward`: which of z, y, x each axis of the network is."""
        order = [int(axis) for axis in transpose_forward]
        if sorted(order) != [0, 1, 2]:
            raise ValueError(f"transpose_forward is {list(transpose_forward)}, expected 0, 1 and 2 in some order")
        x, y, z = (order.index(axis) for axis in (2, 1, 0))
        return cls((x, y, z))

    def ours(self, values: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Values along nnU-Net's axes, put along x, y, z."""
        if len(values) != 3:
            raise ValueError(f"{list(values)} has {len(values)} entries, expected one for each of 3 axes")
        x, y, z = (values[place] for place in self.places)
        return x, y, z

    def ours_of(self, axes: Sequence[int]) -> tuple[int, ...]:
        """The numbers of nnU-Net's axes as numbers of ours, in order."""
        return tuple(sorted(self.places.index(axis) for axis in axes))

    def theirs(self, axes: Sequence[int]) -> tuple[int, ...]:
        """The inverse of `ours_of`."""
        return tuple(sorted(self.places[axis] for axis in axes))

    def turn_kernel(self, array: np.ndarray) -> np.ndarray:
        """A convolution's weights (out, in, and three of nnU-Net's axes) with axes x, y, z; others stay."""
        if array.ndim != 5:
            return array
        return np.ascontiguousarray(array.transpose(0, 1, *(2 + place for place in self.places)))
