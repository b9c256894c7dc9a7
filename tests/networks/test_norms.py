import pytest
import torch
from torch import nn

from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.networks.unet import FusedInstanceNorm, build_unet, fuse_norms, unet_weights

SPEC = NetworkSpec("residual", (2, 4), (1, 2), 1, conv_bias=False)


def test_a_fused_norm_computes_what_the_norm_does() -> None:
    norm = nn.InstanceNorm3d(3, eps=1e-5, affine=True)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.0, 3.0, -1.0]))
    features = 5 + 2 * torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(FusedInstanceNorm(norm)(features), norm(features), rtol=1e-4, atol=1e-5)
    assert FusedInstanceNorm(norm)(features.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_a_network_with_fused_norms_has_the_same_weights_gradients_and_output(unshuffle: int) -> None:
    spec = NetworkSpec(SPEC.encoder, SPEC.features, SPEC.depths, 1, conv_bias=False, unshuffle=unshuffle)
    plain, fused = build_unet(spec, seed=0), build_unet(spec, seed=0)
    fuse_norms(fused)
    assert not any(isinstance(module, nn.InstanceNorm3d) for module in fused.modules())
    assert list(unet_weights(fused)) == list(unet_weights(plain))
    patch = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    for network in (plain, fused):
        network(patch)[0].square().mean().backward()
    torch.testing.assert_close(fused(patch)[0], plain(patch)[0], rtol=1e-3, atol=1e-4)
    pairs = zip(fused.named_parameters(), plain.named_parameters(), strict=True)
    for (name, one), (other, two) in pairs:
        assert name == other
        if two.grad is not None:
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-2, atol=1e-4)
