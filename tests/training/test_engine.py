import lightning_fabric
import pytest
import torch

from mapping_stroke.errors import ConfigError
from mapping_stroke.training import engine
from mapping_stroke.training.engine import Hardware, start_engine
from mapping_stroke.training.schemes import SIZES, find_size

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("found", "expected"),
    [({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({"avx2": True}, "float32")],
)
def test_auto_is_bfloat16_only_where_the_processor_multiplies_it(
    found: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert Hardware(CPU).computes_in == expected
    assert Hardware(torch.device("cuda")).computes_in == "bfloat16"
    assert Hardware(torch.device("mps")).computes_in == "float32"


def test_an_older_torch_that_cannot_tell_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not engine._processor_has_bfloat16()


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_convolutions_compute_in_the_precision_and_answers_are_float32(precision: str, dtype: torch.dtype) -> None:
    seen = []
    network = torch.nn.Conv3d(1, 1, 3)
    network.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    fabric = start_engine(Hardware(CPU, precision))
    wrapped = fabric.setup_module(network)
    assert wrapped(torch.zeros(1, 1, 4, 4, 4)).dtype == torch.float32
    assert seen == [dtype]
    assert network.weight.dtype == torch.float32


def test_a_precision_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="no precision 'half' to train in; expected one of auto, float32, bfloat16"):
        Hardware(CPU, "half")


@pytest.mark.parametrize(
    ("device", "devices", "nodes", "problem"),
    [
        ("cpu", 0, 1, "got --devices 0, expected 1 or more"),
        ("cpu", 1, 0, "got --nodes 0, expected 1 or more"),
        ("cuda", 3, 1, "got --devices 3, but this machine has 2 GPUs; give at most that number"),
        ("cuda:1", 2, 1, "--device cuda:1 names one GPU; give --device cuda with --devices 2"),
        ("mps", 2, 1, "several processes need CUDA GPUs or a processor, not mps; leave --devices out"),
    ],
)
def test_devices_that_are_not_there_are_refused(
    device: str, devices: int, nodes: int, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=problem):
        Hardware(torch.device(device), devices=devices, nodes=nodes)


def test_hardware_says_how_many_processes_compute() -> None:
    assert Hardware(CPU, "float32", devices=2, nodes=3).description == "cpu (float32, 6 processes)"


def test_processes_of_another_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(_: object) -> None:
        raise ValueError("does not match the world size (2)")

    monkeypatch.setattr(lightning_fabric.Fabric, "launch", launch)
    with pytest.raises(
        ConfigError, match=r"2 x 2 processes cannot train together: .* start as many as given by --nodes"
    ):
        start_engine(Hardware(CPU, "float32", devices=2, nodes=2))


def test_grids_on_which_bfloat16_gradients_are_wrong_are_computed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert Hardware(CPU, grids=((8, 8, 8), (2, 4, 4))).computes_in == "float32"
    assert Hardware(CPU, grids=((8, 8, 8), (4, 2, 2))).computes_in == "bfloat16"
    assert Hardware(torch.device("cuda"), grids=((2, 4, 4),)).computes_in == "bfloat16"
    with pytest.raises(ConfigError, match="wrong gradients in bfloat16"):
        Hardware(CPU, "bfloat16", grids=((2, 4, 4),))


@pytest.mark.parametrize("name", SIZES)
def test_every_size_may_be_trained_in_bfloat16(name: str) -> None:
    assert Hardware(CPU, "bfloat16", grids=find_size(name).grids).computes_in == "bfloat16"
    assert len(find_size(name).grids) == find_size(name).plain.stages + find_size(name).residual.stages


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 3, 3), (4, 5, 4), (4, 4, 4), (6, 6, 6), (8, 8, 8)])
@pytest.mark.parametrize("stride", [1, 2])
def test_bfloat16_gradients_of_a_convolution_are_those_of_float32(shape: tuple[int, ...], stride: int) -> None:
    """What is left in memory by others must not come in: it is made NaN first."""
    generator = torch.Generator().manual_seed(0)
    scan = torch.randn(2, 16, *shape, generator=generator)
    gradients = []
    for reduced in (False, True):
        weight = (0.05 * torch.randn(16, 16, 3, 3, 3, generator=torch.Generator().manual_seed(1))).requires_grad_()
        litter = [torch.full((count,), torch.nan) for count in (100, 1000, 10_000, 100_000) * 4]
        del litter
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            torch.nn.functional.conv3d(scan, weight, None, stride, 1).float().square().sum().backward()
        gradients.append(weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0.03 * float(gradients[0].abs().max()))
