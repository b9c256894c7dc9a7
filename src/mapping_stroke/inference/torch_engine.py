"""Networks by torch: CUDA, Apple's MPS, or any processor in float32."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mapping_stroke.images.image import Voxels
from mapping_stroke.images.nifti import Shape
from mapping_stroke.networks.spec import NetworkSpec, Weights
from mapping_stroke.networks.unet import load_unet

BATCH_VOX = {"cuda": 4 * 128**3}
"""A GPU has memory for larger batches, and is more efficient with them."""
SMALL_BATCH_VOX = 128**3
CPU = torch.device("cpu")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchEngine:
    """Loads networks onto a torch device.

    Attributes:
        precision: Of the convolutions; inputs and outputs are float32.
        value_bytes: Bytes of one stored activation.
        on_gpu: Whether activations are in a GPU's own memory.
    """

    def __init__(self, device: torch.device, precision: str = "auto") -> None:
        self._device = device
        self.precision = _fastest_precision(device) if precision == "auto" else precision
        self.value_bytes = PRECISIONS[self.precision].itemsize
        self.on_gpu = device.type == "cuda"

    @property
    def description(self) -> str:
        """Device and software, in a few words."""
        return f"{self._device} (torch, {self.precision})"

    def load(self, spec: NetworkSpec, read_weights: Callable[[], Weights]) -> "TorchNetwork":
        """Load a network."""
        network = load_unet(spec, read_weights()).to(self._device)
        return TorchNetwork(network, self._device, PRECISIONS[self.precision])


class TorchNetwork:
    """A network of ours, or any module from (n, 1, x, y, z) to logits (n, 2, x, y, z). See `TileNetwork`."""

    def __init__(self, network: nn.Module, device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> None:
        self._device, self._dtype = device, dtype
        self.batch_vox = BATCH_VOX.get(device.type, SMALL_BATCH_VOX)
        if device.type == "cuda":
            network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._network = network

    def put(self, voxels: Voxels) -> Float[Tensor, "x y z"]:
        """Bring a scan to the device."""
        return torch.from_numpy(voxels).to(self._device)

    def get(self, voxels: Float[Tensor, "x y z"]) -> Voxels:
        """Bring a map back."""
        return voxels.cpu().numpy()

    def flip(self, voxels: Float[Tensor, "x y z"], axes: tuple[int, ...]) -> Float[Tensor, "x y z"]:
        """Mirror axes."""
        return voxels.flip(axes)

    def sigmoid(self, logits: Float[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
        """P from its logit."""
        return torch.sigmoid(logits)

    def logits(self, patches: Sequence[Float[Tensor, "x y z"]]) -> list[Float[Tensor, "x y z"]]:
        """The logit of P(lesion) for patches (x, y, z) of one shape."""
        batch = torch.stack(list(patches))[:, None]
        if self._device.type == "cuda":
            batch = batch.contiguous(memory_format=torch.channels_last_3d)
        reduced = self._dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self._device.type, self._dtype, enabled=reduced):
            logits = self._network(batch)
            # the logit of P(lesion); subtracted in float32, since half precision would round the difference
            return list((logits[:, 1].float() - logits[:, 0].float()).unbind())

    def warm_up(self, patch: Shape, batch: int) -> None:
        """Nothing to do, since torch compiles nothing here."""

    def release(self) -> None:
        """Nothing to release, since torch's allocator shares its memory among networks."""


def _fastest_precision(device: torch.device) -> str:
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
