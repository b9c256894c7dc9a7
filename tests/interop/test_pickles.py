"""Files that could run code when they are read are refused, and run nothing."""

import os
import pickle
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mapping_stroke.errors import BundleError
from mapping_stroke.interop.nnunet import read_nnunet
from mapping_stroke.interop.nnunet_common import read_checkpoint, read_tensors
from mapping_stroke.interop.pickles import read_pickle


class Attack:
    """Calls a function with arguments when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def attacks(trace: Path) -> dict[str, Attack]:
    """Each leaves a file behind if it is run, by the name that the refusal must tell."""
    touch = f"touch {trace}"
    return {
        "posix.system": Attack(os.system, touch),
        "eval": Attack(eval, f"open({str(trace)!r}, 'w')"),
        "exec": Attack(exec, f"open({str(trace)!r}, 'w')"),
        "Popen": Attack(subprocess.Popen, ["touch", str(trace)]),
        "getattr": Attack(getattr, "", "format"),
        "open": Attack(open, str(trace), "w"),
    }


NAMES = tuple(attacks(Path()))


@pytest.mark.parametrize("name", NAMES)
def test_plans_that_call_a_function_are_refused_by_name_and_run_nothing(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "nnUNetTrainerV2__nnUNetPlansv2.1"
    folder.mkdir()
    (folder / "plans.pkl").write_bytes(pickle.dumps({"plans_per_stage": attacks(tmp_path / "ran")[name]}))
    with pytest.raises(BundleError, match=rf"plans.pkl: asks to call .*{name}.* nothing was executed"):
        read_nnunet(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_that_call_a_function_are_refused_by_name_and_run_nothing(
    tmp_path: Path, name: str, zipped: bool
) -> None:
    path = tmp_path / "model_final_checkpoint.model"
    content = {"state_dict": {"weight": torch.zeros(2)}, "plot_stuff": attacks(tmp_path / "ran")[name]}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BundleError, match=rf"model: asks to call .*{name}.* nothing was executed"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_a_golden_model_that_call_a_function_are_refused(
    golden_models: Path, tmp_path: Path, name: str
) -> None:
    for folder, file in (("Task100_plain", "*.model"), ("Dataset100_plain", "*.pth")):
        (path,) = (golden_models / folder).rglob(file)
        torch.save({"state_dict": attacks(tmp_path / "ran")[name]}, path)
        with pytest.raises(BundleError, match="asks to call"):
            read_nnunet(path.parents[1]).weights(0)
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "gadget",
    [
        "numpy.f2py.crackfortran\nmyeval",
        "numpy.testing._private.utils\nruncmd",
        "numpy._core.multiarray\nfromfile",
        "numpy.core.multiarray\nset_string_function",
        "numpy\nload",
        "numpy\ndtype.type",
        "mapping_stroke.interop.pickles\npickle.loads",
        "torch\nload",
        "torch.hub\nload_state_dict_from_url",
        "collections\ndefaultdict",
        "builtins\n__import__",
    ],
)
def test_functions_that_only_look_like_numpy_are_refused(tmp_path: Path, gadget: str) -> None:
    code = f"c{gadget}\n(V1\ntR.".encode()
    (tmp_path / "plans.pkl").write_bytes(code)
    with pytest.raises(BundleError, match="asks to call " + gadget.replace("\n", ".").replace(".", r"\.")):
        read_pickle(tmp_path / "plans.pkl")


def test_a_pickle_cannot_change_the_functions_that_it_may_call(tmp_path: Path) -> None:
    path = tmp_path / "plans.pkl"
    for function in (b"_codecs\nencode\n", b"numpy.core.multiarray\nscalar\n", b"numpy\ndtype\n"):
        path.write_bytes(b"\x80\x02c" + function + b"N}V__defaults__\n(Vrot13\nts\x86b.")
        with pytest.raises(BundleError, match="cannot be read"):
            read_pickle(path)
    path.write_bytes(pickle.dumps(b"\xff", protocol=2))
    assert read_pickle(path) == b"\xff"


def test_what_nnunet_stores_is_read_as_plain_values(tmp_path: Path) -> None:
    plans = {
        "array": np.array([[1, 2], [3, 4]]),
        "columns": np.asfortranarray([[1.5, 2.5], [3.5, 4.5]]),
        "swapped": np.array([1, 2], dtype=">i2"),
        "number": np.float64(0.25),
        "truth": np.bool_(True),
        "objects": np.array([None, "a"], dtype=object),
        "text": np.array(["ab", "c"]),
        "ordered": OrderedDict([(0, (np.int64(3), [np.float32(0.5)]))]),
        "dtype": np.dtype("float32"),
        "set": {1},
    }
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps(plans, protocol=protocol))
        assert read_pickle(path) == {
            "array": [[1, 2], [3, 4]],
            "columns": [[1.5, 2.5], [3.5, 4.5]],
            "swapped": [1, 2],
            "number": 0.25,
            "truth": True,
            "objects": [None, "a"],
            "text": ["ab", "c"],
            "ordered": {0: (3, [0.5])},
            "dtype": "float32",
            "set": {1},
        }


def test_names_of_older_and_newer_numpy_mean_the_same(tmp_path: Path) -> None:
    new = pickle.dumps({"a": np.arange(3), "b": np.float64(2)}, protocol=2)
    old = new.replace(b"numpy._core.", b"numpy.core.")
    assert old != new
    for number, content in enumerate((old, new)):
        (tmp_path / f"{number}.pkl").write_bytes(content)
        assert read_pickle(tmp_path / f"{number}.pkl") == {"a": [0, 1, 2], "b": 2.0}


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_with_numpy_values_are_read_in_both_formats(tmp_path: Path, zipped: bool) -> None:
    content = {
        "state_dict": OrderedDict([("module._orig_mod.weight", torch.arange(3, dtype=torch.float16))]),
        "plot_stuff": ([np.float64(0.5)], [np.array([1.0, 2.0])]),
        "device": torch.device("cpu"),
    }
    torch.save(content, tmp_path / "a.model", _use_new_zipfile_serialization=zipped)
    tensors = read_tensors(read_checkpoint(tmp_path / "a.model"), "state_dict", tmp_path / "a.model")
    assert list(tensors) == ["weight"]
    assert tensors["weight"].dtype == np.float32
    assert tensors["weight"].tolist() == [0, 1, 2]


class Crafted:
    """An array whose parts contradict each other."""

    def __init__(self, *state: Any) -> None:
        self.state = state

    def __reduce__(self) -> tuple[Any, ...]:
        empty = np.zeros(0).__reduce__()
        return empty[0], empty[1], self.state


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (Crafted(1, (1 << 40,), np.dtype("f8"), False, b"12345678"), "reshape"),
        (Crafted(1, (2,), np.dtype("O"), False, b"1234567812345678"), "objects that is not a list"),
        (Crafted(1, (1,), np.dtype("f8"), False, 7), "made of int"),
        (Crafted(1, (1,), "f8", False, b"12345678"), "unknown kind"),
        (np.zeros(2, dtype=[("a", "f8"), ("b", "O")]), "records|array of"),
        (np.dtype([("a", "f8")]), "records|array of"),
    ],
)
def test_crafted_arrays_are_refused(tmp_path: Path, value: Any, reason: str) -> None:
    path = tmp_path / "plans.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(BundleError, match=f"plans.pkl: cannot be read .*({reason})"):
        read_pickle(path)


def test_arrays_that_python_2_wrote_are_read(tmp_path: Path) -> None:
    text = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
    text += b"cnumpy\ndtype\n(S'i2'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x01\\x00\\xff\\x00'\ntb."
    (tmp_path / "plans.pkl").write_bytes(text)
    assert read_pickle(tmp_path / "plans.pkl") == [1, 255]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (b"c_codecs\nencode\n(Vabc\nVrot13\ntR.", "bytes as rot13"),
        (b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(VO8\ntRVabc\ntR.", "number that is an object"),
        (b"cnumpy\ndtype\n(I7\ntR.", "array of 7"),
        (b"cnumpy\ndtype\n(VV8\ntR.", "array of 'V8'"),
        (b"cnumpy\ndtype\n(Vi2\ntR(I3\nV<\nN(Va\ntNI-1\nI-1\nI0\ntb.", "array of records"),
    ],
)
def test_crafted_calls_of_known_functions_are_refused(tmp_path: Path, code: bytes, reason: str) -> None:
    (tmp_path / "plans.pkl").write_bytes(code)
    with pytest.raises(BundleError, match=reason):
        read_pickle(tmp_path / "plans.pkl")


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle", b"\x80\x04\x95\xff"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    for read in (read_pickle, read_checkpoint):
        with pytest.raises(BundleError, match="file: cannot be read"):
            read(path)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    for read in (read_pickle, read_checkpoint):
        with pytest.raises(BundleError, match="gone: missing"):
            read(tmp_path / "gone")


def test_a_pickle_that_holds_itself_is_refused(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    (tmp_path / "loop.pkl").write_bytes(pickle.dumps(loop))
    with pytest.raises(BundleError, match=r"loop\.pkl: cannot be read"):
        read_pickle(tmp_path / "loop.pkl")


def test_broken_weights_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for tensor, reason in (
        (torch.tensor([1.0, float("nan")]), "w holds NaN"),
        (torch.tensor([1, 2]), "w is not an array"),
        ("text", "w is not an array"),
    ):
        torch.save({"network_weights": {"w": tensor}}, path)
        with pytest.raises(BundleError, match=reason):
            read_tensors(read_checkpoint(path), "network_weights", path)
    with pytest.raises(BundleError, match="has no 'state_dict'"):
        read_tensors(read_checkpoint(path), "state_dict", path)
    torch.save([1], path)
    with pytest.raises(BundleError, match="holds a list"):
        read_checkpoint(path)
