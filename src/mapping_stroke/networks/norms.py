"""InstanceNorm for compiled training on a processor: reads features where the convolutions leave them."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FusedInstanceNorm(nn.Module):
    """Computes what `nn.InstanceNorm3d` does, from its own parameters, in operations that a compiler fuses.

    torch's own copies features from the order of the convolutions (channels last) to another and back, which takes as
    long as the convolutions; not compiled, this one is slower.
    """

    def __init__(self, norm: nn.InstanceNorm3d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, features: Float[Tensor, "n c x y z"]) -> Float[Tensor, "n c x y z"]:
        """Mean 0 and variance 1 for each sample and channel, then its weight and bias; computed in float32."""
        values = features.float()
        variance, mean = torch.var_mean(values, dim=(2, 3, 4), correction=0, keepdim=True)
        scale = torch.rsqrt(variance + self.eps) * self.weight.view(-1, 1, 1, 1)
        return (values * scale + (self.bias.view(-1, 1, 1, 1) - mean * scale)).to(features.dtype)


def fuse_norms(network: nn.Module) -> None:
    """Put `FusedInstanceNorm` in the place of every affine InstanceNorm, with its parameters and under its name."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.InstanceNorm3d) and child.affine:
                holder: Any = parent
                setattr(holder, name, FusedInstanceNorm(child))
