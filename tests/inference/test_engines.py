import pytest
import torch

from mapping_stroke.errors import ConfigError
from mapping_stroke.inference import engines
from mapping_stroke.inference.engines import choose_device, choose_engine


def test_a_device_is_chosen_by_name_or_by_what_is_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no device 'abacus' on this machine; expected auto or one of .*cpu"):
        choose_device("abacus")
    with pytest.raises(ConfigError, match="no device 'abacus'"):
        choose_engine("abacus")


def test_an_x86_processor_computes_by_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_openvino_suits", lambda: True)
    assert "OpenVINO" in choose_engine("cpu").description
    monkeypatch.setattr(engines, "_openvino_suits", lambda: False)
    assert "torch" in choose_engine("cpu").description


def test_torch_on_the_processor_computes_in_float32_unless_told_otherwise() -> None:
    assert choose_engine("cpu", "torch").precision == "float32"
    assert choose_engine("cpu", "torch", "bfloat16").value_bytes == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cpu", "abacus"), "no engine 'abacus'; expected one of auto, openvino, torch"),
        (("cpu", "torch", "float8"), "no precision 'float8'; expected one of auto, float32, bfloat16, float16"),
        (("cpu", "openvino", "float16"), "bfloat16 and float32"),
        (("cuda", "openvino"), "use --engine torch"),
    ],
)
def test_what_there_is_not_is_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_engine(*arguments)


def test_openvino_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="not installed; run `pip install openvino`"):
        choose_engine("cpu", "openvino")
    assert "torch" in choose_engine("cpu").description
