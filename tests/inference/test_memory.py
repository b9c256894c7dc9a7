import pytest

from mapping_stroke.errors import ResourceError
from mapping_stroke.inference.cost import network_bytes, require_memory, scan_bytes
from mapping_stroke.networks.spec import NetworkSpec


def test_larger_patches_batches_and_values_need_more() -> None:
    small = network_bytes(NetworkSpec(), (64, 64, 64), 1, 2)
    assert small < network_bytes(NetworkSpec(), (128, 128, 128), 1, 2) < network_bytes(NetworkSpec(), (128,) * 3, 1, 4)
    assert small < network_bytes(NetworkSpec(), (64, 64, 64), 2, 2)
    assert scan_bytes([(10, 10, 10), (20, 10, 10)]) == scan_bytes([(20, 10, 10)])


def test_what_fits_is_let_through_and_what_does_not_names_the_remedy() -> None:
    require_memory(1, "segmenting", "buy more")
    with pytest.raises(ResourceError, match=r"segmenting needs about 1000000000\.0 GB .* GB left; buy more"):
        require_memory(1e18, "segmenting", "buy more")
