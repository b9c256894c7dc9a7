import dataclasses

import pytest

from mapping_stroke.networks.spec import NetworkSpec, count_parameters, parameter_shapes
from mapping_stroke.networks.unet import build_unet

ANISOTROPIC = {"kernels": ((1, 3, 3), (3, 3, 3), (3, 3, 3)), "strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2))}
SPECS = (
    NetworkSpec("plain", (2, 4), (1, 1), 1),
    NetworkSpec("plain", (2, 4, 6), (1, 3, 2), 2, **ANISOTROPIC),
    NetworkSpec("plain", (3, 3, 2), (2, 2, 2), 3, conv_bias=False),
    NetworkSpec("residual", (2, 4, 4, 6), (2, 1, 3, 1), 1, strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (1, 1, 1))),
    NetworkSpec("residual", (2, 4, 4), (1, 2, 1), 2, conv_bias=False, **ANISOTROPIC),
    NetworkSpec("plain", (2, 4), (1, 2), 1, unshuffle=2),
    NetworkSpec("residual", (2, 4), (1, 2), 1, conv_bias=False, unshuffle=3),
)


@pytest.mark.parametrize("skip", ["pooled", "strided"])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_names_shapes_and_order_are_those_of_the_network_that_is_built(spec: NetworkSpec, skip: str) -> None:
    spec = dataclasses.replace(spec, skip=skip)
    built = {name: tuple(value.shape) for name, value in build_unet(spec).named_parameters()}
    assert list(parameter_shapes(spec).items()) == list(built.items())


def test_the_paper_s_network_has_31_million_parameters() -> None:
    assert count_parameters(NetworkSpec()) == sum(value.numel() for value in build_unet(NetworkSpec()).parameters())
    assert round(count_parameters(NetworkSpec()) / 1e6) == 31
