"""A model's members on one engine: a scan is prepared once, each member sees it, one running mean remains."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mapping_stroke.dataset.preprocess import prepare_for_each
from mapping_stroke.image import Image, Probability
from mapping_stroke.inference.average import Average, PreparedScan, RunningAverage, average_groups
from mapping_stroke.inference.engines import Engine, LoadedNetwork
from mapping_stroke.inference.sliding_window import Tiling, WindowConfig, plan_tiling, predict_map, tile_groups
from mapping_stroke.networks.bundle import Bundle, BundleMember
from mapping_stroke.networks.parameters import count_parameters

LOADED_BYTES = 256 * 2**20
"""Weights that stay loaded from scan to scan; what is above is read again for each scan, so that memory does not grow
with the number of members."""
USUAL_BRAIN_MM = (150.0, 184.0, 156.0)
"""Of the box around a brain in MNI152 space, along x, y and z."""


class Ensemble:
    """Members of one model, ready to predict scan after scan.

    Args:
        bundle: The model.
        engine: Where its networks are computed.
        window: How a scan is covered; what is averaged is the bundle's affair. No member mirrors patches along an axis
            along which its training did not.
        members: Those used; None for all.
    """

    def __init__(
        self, bundle: Bundle, engine: Engine, window: WindowConfig, members: Sequence[BundleMember] | None = None
    ) -> None:
        self.members = tuple(bundle.card.members if members is None else members)
        self.engine = engine
        self.window = window
        self._bundle = bundle
        self._loaded: dict[str, LoadedNetwork] = {}
        self._loaded_bytes = 0

    def prepare(self, scan: Image) -> PreparedScan:
        """A scan as the members read it; raises `ImageError` where there is no brain to see."""
        specs = dict.fromkeys(member.card.preprocess for member in self.members)  # in order: so are sums of floats
        return prepare_for_each(scan, specs)

    def warm_up(self) -> None:
        """Make the members ready that stay loaded, while the first scan is still being read and placed.

        Those that cover it in patches are made ready for as many as a brain of the usual size takes.

        Raises:
            BundleError: The weights of a member cannot be read.
        """
        for member in self.members:
            network = self._load(member)
            if member.weights not in self._loaded:
                return
            if self.window.cover == "tiles":
                network.warm_up(member.card.patch, self._usual_batch(member, network.batch_vox))
                network.release()

    def _usual_batch(self, member: BundleMember, batch_vox: int) -> int:
        card = member.card
        shape = [round(edge / voxel) for edge, voxel in zip(USUAL_BRAIN_MM, card.preprocess.edges_mm, strict=True)]
        usual = plan_tiling(np.ones(shape, np.float32), card.patch, card.network.window_steps, self.window)
        return max(map(len, tile_groups(usual.boxes, card.patch, batch_vox)))

    def window_of(self, member: BundleMember) -> WindowConfig:
        """How one member covers a scan."""
        return replace(
            self.window, mirror=tuple(axis for axis in self.window.mirror if axis in member.card.mirror_axes)
        )

    @property
    def mirrorings(self) -> tuple[int, int]:
        """Of each patch: by the member that mirrors least, and by the one that mirrors most."""
        counts = [len(self.window_of(member).mirrorings) for member in self.members]
        return min(counts), max(counts)

    def tiling(self, member: BundleMember, prepared: PreparedScan) -> Tiling:
        """The patches that a member computes."""
        card = member.card
        return plan_tiling(prepared[card.preprocess].voxels, card.patch, card.network.window_steps, self.window)

    def flop(self, prepared: PreparedScan) -> float:
        """Floating-point operations of all convolutions for one scan."""
        total = 0.0
        for member in self.members:
            tiling = self.tiling(member, prepared)
            patches = len(tiling.boxes) * len(self.window_of(member).mirrorings)
            total += member.card.network.forward_flop(tiling.patch) * patches
        return total

    def predict(self, prepared: PreparedScan, advance: Callable[[float], None] = lambda share: None) -> Average:
        """The members' average on the scan's own grid.

        Args:
            prepared: What `prepare` made of a scan.
            advance: Told the share of the work that was just done; the shares sum to 1.
        """
        means = {spec: RunningAverage(self.window.average) for spec in prepared}
        for member in self.members:
            values = self.predict_member(member, prepared, lambda share: advance(share / len(self.members)))
            means[member.card.preprocess].add(values)
        return average_groups(means, prepared)

    def predict_member(
        self, member: BundleMember, prepared: PreparedScan, advance: Callable[[float], None] = lambda share: None
    ) -> Probability:
        """One member's map on its network's grid: P(lesion), or its logit if the window averages logits."""
        network = self._load(member)
        tiling = self.tiling(member, prepared)
        voxels = prepared[member.card.preprocess].voxels
        values = predict_map(network, voxels, tiling, self.window_of(member), advance)
        if len(self.members) > 1:
            network.release()
        return values

    def _load(self, member: BundleMember) -> LoadedNetwork:
        """The member's network; kept as long as there is room for its weights."""
        if member.weights in self._loaded:
            return self._loaded[member.weights]
        network = self.engine.load(member.card.network, lambda: self._bundle.read_weights(member))
        size = 4 * count_parameters(member.card.network)
        if len(self.members) == 1 or self._loaded_bytes + size <= LOADED_BYTES:
            self._loaded[member.weights] = network
            self._loaded_bytes += size
        return network
