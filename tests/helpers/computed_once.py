"""Slow functions of the package, computed once for each input in a test session."""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import wraps
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import pytest

from mapping_stroke.images.image import Image
from mapping_stroke.inference import openvino_engine
from mapping_stroke.inference.openvino_engine import OpenVinoEngine
from mapping_stroke.report import style


def input_key(value: object) -> str:
    """A text that is the same for equal inputs: data classes, arrays in any memory order, and plain values."""
    if isinstance(value, Image):  # how its header says the same is of no interest
        return input_key((value.voxels, value.affine))
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{sha256(np.ascontiguousarray(value)).hexdigest()}"
    if isinstance(value, Mapping):
        return input_key(list(value.items()))
    if isinstance(value, list | tuple):
        return f"[{','.join(map(input_key, value))}]"
    if is_dataclass(value):
        return f"{type(value).__name__}({','.join(input_key(getattr(value, each.name)) for each in fields(value))})"
    return repr(value)


def computed_once(function: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """A function that looks into a folder first, which several processes may share.

    Args:
        function: Returns the same for the same arguments; reads no files and no settings.
        folder: Its results; every caller gets a copy of its own.
    """

    @wraps(function)
    def known(*arguments: object) -> Any:
        name = f"{function.__module__}.{function.__qualname__}"
        path = folder / f"{name}-{sha256(input_key(arguments).encode()).hexdigest()}.pickle"
        if path.is_file():
            return pickle.loads(path.read_bytes())
        result = function(*arguments)
        with NamedTemporaryFile(dir=folder, delete=False) as whole:  # another process sees all of it or nothing
            pickle.dump(result, whole, protocol=pickle.HIGHEST_PROTOCOL)
        Path(whole.name).replace(path)
        return result

    return known


REPORT_PICTURES = ("draw_by_load", "draw_comparisons", "draw_learning_curves")
"""Functions that draw the pictures of a report, in `mapping_stroke.stages.report`."""


def draw_once(draw: Callable[..., None], *, alike: bool = False) -> Callable[..., None]:
    """A function that draws into a file, which is given as a path: of each picture only the first one is drawn.

    Args:
        draw: Draws the same for the same arguments and resolution.
        alike: All its pictures look alike, so that the first one serves for all.
    """
    drawn: dict[str, bytes] = {}

    @wraps(draw)
    def copy(*arguments: object) -> None:
        (path,) = (each for each in arguments if isinstance(each, Path))
        shown = [each for each in arguments if each is not path]
        key = "" if alike else input_key([style.PIXELS_PER_INCH, *shown])
        if key not in drawn:
            draw(*arguments)
            drawn[key] = path.read_bytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn[key])

    return copy


MOST_KEPT = 100_000
"""Parameters of the largest network that stays in memory."""


def compile_once(patch: pytest.MonkeyPatch) -> None:
    """Let OpenVINO compile a small network once for each shape of patches: that takes longer than the network does."""
    build, compile_graph = openvino_engine.build_graph, OpenVinoEngine.compile
    graphs: dict[str, Any] = {}
    kept: set[int] = set()
    compiled: dict[tuple[int, str], Any] = {}

    def build_once(spec: object, weights: dict[str, np.ndarray], *shape: object) -> Any:
        if sum(values.size for values in weights.values()) > MOST_KEPT:
            return build(spec, weights, *shape)
        key = input_key((spec, sorted(weights.items()), shape))
        if key not in graphs:
            graphs[key] = build(spec, weights, *shape)
            kept.add(id(graphs[key]))
        return graphs[key]

    def compile_known(engine: OpenVinoEngine, graph: Any) -> Any:
        if id(graph) not in kept:
            return compile_graph(engine, graph)
        key = id(graph), engine.precision
        if key not in compiled:
            compiled[key] = compile_graph(engine, graph)
        return compiled[key]

    patch.setattr(openvino_engine, "build_graph", build_once)
    patch.setattr(OpenVinoEngine, "compile", compile_known)
