import pytest
import torch

from mapping_stroke.errors import ConfigError
from mapping_stroke.training import engine
from mapping_stroke.training.engine import Hardware, start_engine

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
    with pytest.raises(ConfigError, match="no precision 'half' to train in; expected auto, float32, bfloat16"):
        Hardware(CPU, "half")
