"""The members of a model on one engine: their average, and the maps of single members."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32
from scipy.special import expit

from mapping_stroke.dataset.preprocess import Prepared, PreprocessSpec, prepare_for_each
from mapping_stroke.errors import BundleError
from mapping_stroke.images.image import Image, Probability
from mapping_stroke.inference.engines import Engine, LoadedNetwork
from mapping_stroke.inference.sliding_window import Tiling, WindowConfig, plan_tiling, predict_map, tile_groups
from mapping_stroke.networks.bundle import Bundle
from mapping_stroke.networks.cards import Averaging, BundleMember
from mapping_stroke.networks.spec import count_parameters

Map = Float32[np.ndarray, "x y z"]
Plane = Float32[np.ndarray, "y z"]
PreparedScan = Mapping[PreprocessSpec, Prepared]
"""A scan after each different preprocessing of the members."""


@dataclass(frozen=True, eq=False)
class Average:
    """The average of the members.

    Attributes:
        probability: Mean P(lesion), in [0, 1]; or P of the mean logit.
        uncertainty: Standard deviation of P(lesion) over the members (divisor n), in [0, 0.5]; 0 for a single one. If
            one network is averaged over its mirrorings, these count as members here and below.
        agreement: Share of the members with P(lesion) > 0.5, in [0, 1].
        members: Number of averaged members.
    """

    probability: Probability
    uncertainty: Map
    agreement: Map
    members: int

    def on(self, lay: Callable[[Map], Map]) -> "Average":
        """The same with every map resampled by a function."""
        return Average(lay(self.probability), lay(self.uncertainty), lay(self.agreement), self.members)


class RunningAverage:
    """Running mean, spread and votes of maps on one grid, so that memory does not grow with their number.

    Args:
        of: `probability`: the maps are P(lesion) and so is their mean, as in the paper. `logit`: the maps are logits,
            which are averaged as in nnU-Net v2.
    """

    def __init__(self, of: Averaging = "probability") -> None:
        self.members = 0
        self._of = of
        empty = np.zeros((0, 0, 0), np.float32)  # the first map brings its shape
        self._logits, self._mean, self._squares, self._votes = empty, empty, empty, empty

    def add(self, values: Map) -> None:
        """Add one member's map, by Welford's running mean and sum of squares."""
        probability = np.asarray(expit(values)) if self._of == "logit" else values
        self.members += 1
        if self.members == 1:
            self._logits = values.copy() if self._of == "logit" else self._logits
            self._mean, self._squares = probability.copy(), np.zeros_like(probability)
            self._votes = (probability > np.float32(0.5)).astype(np.float32)
            return
        if self._of == "logit":
            self._logits += (values - self._logits) / self.members
        # float32 sums of squares would cancel where members agree; Welford's update does not
        difference = probability - self._mean
        self._mean += difference / self.members
        self._squares += difference * (probability - self._mean)
        self._votes += probability > np.float32(0.5)

    def result(self, lay: Callable[[Map], Map] = lambda values: values) -> Average:
        """The average so far, with each map resampled by a function if one is given.

        Raises:
            BundleError: There is no map yet.
        """
        if self.members == 0:
            raise BundleError("a model average needs at least one member; train one, or name a folder that holds some")
        # rounding can leave a square just below 0
        uncertainty = lay(np.sqrt(np.maximum(self._squares, 0) / self.members))
        probability = np.asarray(expit(lay(self._logits))) if self._of == "logit" else lay(self._mean)
        return Average(probability, uncertainty, lay(self._votes / self.members), self.members)


def average_groups(groups: Mapping[PreprocessSpec, RunningAverage], prepared: PreparedScan) -> Average:
    """The average over groups of members on the scan's own grid; 0 outside the brain's box.

    Args:
        groups: Running average of the members that read the same grid.
        prepared: The scan on these grids.
    """
    # all groups share the brain's box, so only that part is averaged
    inside = join([running.result(prepared[spec].restore_inside) for spec, running in groups.items()])
    return inside.on(next(iter(prepared.values())).surround)


def join(averages: Sequence[Average]) -> Average:
    """The average over groups of members, with all maps on the same grid.

    The total variance is the mean variance within groups plus the variance between their means.
    """
    if len(averages) == 1:
        return averages[0]
    members = sum(each.members for each in averages)
    shares = [np.float32(each.members / members) for each in averages]
    probability, uncertainty, agreement = (np.empty_like(averages[0].probability) for _ in range(3))
    for x in range(len(probability)):  # plane by plane, so that intermediate values stay in the processor's cache
        mean = probability[x] = _weighted(shares, [each.probability[x] for each in averages])
        variances = [each.uncertainty[x] ** 2 + (each.probability[x] - mean) ** 2 for each in averages]
        uncertainty[x] = np.sqrt(_weighted(shares, variances))
        agreement[x] = _weighted(shares, [each.agreement[x] for each in averages])
    return Average(probability, uncertainty, agreement, members)


def _weighted(shares: Sequence[np.float32], planes: Sequence[Plane]) -> Plane:
    total = np.zeros_like(planes[0])
    for share, values in zip(shares, planes, strict=True):
        total += share * values
    return total


LOADED_BYTES = 256 * 2**20
"""Weights up to this size stay loaded from scan to scan; the rest is read again for each scan, so that memory does not
grow with the number of members."""
USUAL_BRAIN_MM = (150.0, 184.0, 156.0)
"""Usual size of the box around a brain in MNI152 space, along x, y and z."""


class Ensemble:
    """Members of one model, ready to predict scan after scan.

    Args:
        bundle: The model.
        engine: Computes its networks.
        window: How a scan is covered. A member only mirrors patches along the axes of its training.
        members: The members to use; None for all.
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
        """Preprocess a scan for each member; raises `ImageError` if it shows no brain."""
        # without duplicates, in a fixed order, since float sums depend on it
        specs = dict.fromkeys(member.card.preprocess for member in self.members)
        return prepare_for_each(scan, specs)

    def warm_up(self) -> None:
        """Load the members that stay loaded, while the first scan is still being read and placed.

        Members that cover a scan in patches are compiled for the batch size of a brain of the usual size.

        Raises:
            BundleError: The weights of a member cannot be read.
        """
        for member in self.members:
            network = self._load(member)
            if member.weights not in self._loaded:  # `LOADED_BYTES` are used up: no later member stays
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
        """Fewest and most mirrored versions of a patch over the members."""
        counts = [len(self.window_of(member).mirrorings) for member in self.members]
        return min(counts), max(counts)

    @property
    def voters(self) -> int:
        """Number of maps that uncertainty and agreement compare: members, or the mirrorings of a single one."""
        return len(self.members) if len(self.members) > 1 else self.mirrorings[0]

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
            prepared: A scan, by `prepare`.
            advance: Receives the share of the work done by each step; the shares sum to 1.
        """
        means = {spec: RunningAverage(self.window.average) for spec in prepared}
        for _ in self.add_members(means, prepared, advance):
            pass
        return average_groups(means, prepared)

    def add_members(
        self, means: Mapping[PreprocessSpec, RunningAverage], prepared: PreparedScan, advance: Callable[[float], None]
    ) -> Iterator[tuple[BundleMember, Map]]:
        """Predict with one member after another, add each map to the mean of its grid, and yield it."""
        for member in self.members:
            maps = []
            for window in self._voting(member):
                maps.append(self._predict(member, window, prepared, lambda share: advance(share / self.voters)))
                means[member.card.preprocess].add(maps[-1])
            yield member, maps[0] if len(maps) == 1 else np.mean(maps, axis=0)

    def _voting(self, member: BundleMember) -> list[WindowConfig]:
        """The windows whose maps count as one each: that of a member, or one for each mirroring of a single member."""
        window = self.window_of(member)
        alone = len(self.members) == 1
        return [replace(window, view=view) for view in window.mirrorings] if alone else [window]

    def predict_member(
        self, member: BundleMember, prepared: PreparedScan, advance: Callable[[float], None] = lambda share: None
    ) -> Probability:
        """One member's map on its network's grid: P(lesion), or its logit if the window averages logits."""
        return self._predict(member, self.window_of(member), prepared, advance)

    def _predict(
        self, member: BundleMember, window: WindowConfig, prepared: PreparedScan, advance: Callable[[float], None]
    ) -> Probability:
        network = self._load(member)
        tiling = self.tiling(member, prepared)
        values = predict_map(network, prepared[member.card.preprocess].voxels, tiling, window, advance)
        if len(self.members) > 1:  # the next member needs the memory
            network.release()
        return values

    def _load(self, member: BundleMember) -> LoadedNetwork:
        """The member's network, kept if its weights fit into `LOADED_BYTES`."""
        if member.weights in self._loaded:
            return self._loaded[member.weights]
        network = self.engine.load(member.card.network, lambda: self._bundle.read_weights(member))
        size = 4 * count_parameters(member.card.network)
        if len(self.members) == 1 or self._loaded_bytes + size <= LOADED_BYTES:
            self._loaded[member.weights] = network
            self._loaded_bytes += size
        return network


def predict_each(
    ensemble: Ensemble, prepared: PreparedScan, advance: Callable[[float], None] = lambda share: None
) -> Iterator[tuple[BundleMember | None, Probability]]:
    """Yield every member with its P(lesion) on the scan's own grid, then None with that of `ensemble.predict`.

    Only one member's map is held at a time, in addition to the running mean.

    Args:
        ensemble: The members on an engine.
        prepared: A scan, by `ensemble.prepare`.
        advance: Receives the share of the work done by each step; the shares sum to 1.
    """
    means = {spec: RunningAverage(ensemble.window.average) for spec in prepared}
    for member, values in ensemble.add_members(means, prepared, advance):
        yield member, _of_member(values, prepared[member.card.preprocess], ensemble.window.average)
    yield None, average_groups(means, prepared).probability


def _of_member(values: Map, prepared: Prepared, of: Averaging) -> Float32[np.ndarray, "x2 y2 z2"]:
    """A map on the network's grid, of P(lesion) or its logit, as P(lesion) on the scan's own grid."""
    inside = prepared.restore_inside(values)
    return prepared.surround(np.asarray(expit(inside)) if of == "logit" else inside)
