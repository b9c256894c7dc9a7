"""Networks on an x86 processor by OpenVINO, in bfloat16 if the chip supports it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from mapping_stroke.errors import ConfigError
from mapping_stroke.images.image import Voxels
from mapping_stroke.images.nifti import Shape
from mapping_stroke.inference.openvino_graph import build_graph
from mapping_stroke.inference.openvino_import import ov
from mapping_stroke.networks.spec import NetworkSpec, Weights

BATCH_VOX = 128**3


class OpenVinoEngine:
    """Loads networks for the CPU plugin of OpenVINO.

    Attributes:
        precision: `bfloat16` or `float32`, of the convolutions; inputs and outputs are float32.
        value_bytes: Bytes of one stored activation.
        on_gpu: False.
    """

    on_gpu = False

    def __init__(self, precision: str = "auto") -> None:
        self._core = ov.Core()
        has_bfloat16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = ("bfloat16" if has_bfloat16 else "float32") if precision == "auto" else precision
        if self.precision == "bfloat16" and not has_bfloat16:
            raise ConfigError("this processor does not support bfloat16; use --precision float32")
        if self.precision not in ("bfloat16", "float32"):
            raise ConfigError(f"OpenVINO supports bfloat16 and float32, got {self.precision}; use --precision float32")
        self.value_bytes = 2 if self.precision == "bfloat16" else 4
        self._settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bfloat16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }

    @property
    def description(self) -> str:
        """Device and software, in a few words."""
        return f"the CPU (OpenVINO, {self.precision})"

    def load(self, spec: NetworkSpec, read_weights: Callable[[], Weights]) -> "OpenVinoNetwork":
        """Load a network; its weights are read when the shape of its patches is known."""
        return OpenVinoNetwork(spec, read_weights, self.compile)

    def compile(self, model: ov.Model) -> Any:
        """Compile a graph with this engine's precision."""
        return self._core.compile_model(model, "CPU", self._settings)


class OpenVinoNetwork:
    """A network compiled for the latest shape of patches. See `TileNetwork`."""

    batch_vox = BATCH_VOX

    def __init__(
        self, spec: NetworkSpec, read_weights: Callable[[], Weights], compile_model: Callable[[ov.Model], Any]
    ) -> None:
        self._spec, self._read_weights, self._compile = spec, read_weights, compile_model
        self._batch = 0
        self._shape: tuple[int, ...] = ()
        self._model: Any = None
        self._request: Any = None

    def put(self, voxels: Voxels) -> Voxels:
        """The same array, since the network runs on the processor."""
        return voxels

    def get(self, voxels: Voxels) -> Voxels:
        """The same array."""
        return voxels

    def flip(self, voxels: Voxels, axes: tuple[int, ...]) -> Voxels:
        """Mirror axes."""
        return np.flip(voxels, axes)

    def sigmoid(self, logits: Voxels) -> Voxels:
        """P from its logit."""
        return np.asarray(expit(logits))

    def logits(self, patches: Sequence[Voxels]) -> list[Voxels]:
        """The logit of P(lesion) for patches (x, y, z) of one shape."""
        self._require(patches[0].shape, len(patches))
        batch = np.zeros((self._batch, 1, *self._shape), np.float32)
        for index, patch in enumerate(patches):
            batch[index, 0] = patch
        (logits,) = self._request.infer([batch], share_inputs=True, share_outputs=False).values()
        return list(logits[: len(patches), 0])

    def warm_up(self, patch: Shape, batch: int) -> None:
        """Read the weights and compile for batches of this many patches of this shape."""
        self._require(patch, batch)

    def release(self) -> None:
        """Release the memory of activations until the next patch."""
        if self._model is not None:
            self._request = None
            self._model.release_memory()

    def _require(self, shape: Shape, batch: int) -> None:
        # batches of a scan differ by at most one patch (`tile_groups`), so a smaller one is padded, not compiled
        if shape != self._shape or not self._batch - 1 <= batch <= self._batch:
            self._request = self._model = None  # free the old one before the new one is compiled
            self._model = self._compile(build_graph(self._spec, self._read_weights(), shape, batch))
            self._shape, self._batch = shape, batch
        if self._request is None:
            self._request = self._model.create_infer_request()
