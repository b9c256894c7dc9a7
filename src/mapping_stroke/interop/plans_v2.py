"""nnU-Net v2's plans.json, told as a network and a preprocessing specification."""

from pathlib import Path
from typing import Any, Literal

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import ConfigError
from mapping_stroke.image import Shape
from mapping_stroke.interop.axes import Axes
from mapping_stroke.interop.imported import refusal, require
from mapping_stroke.networks.spec import Encoder, NetworkSpec

ENCODERS: dict[str, Encoder] = {"PlainConvUNet": "plain", "ResidualEncoderUNet": "residual"}
_DEPTHS = {"plain": "n_conv_per_stage", "residual": "n_blocks_per_stage"}
_KNOWN = {
    "n_stages", "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage_decoder", "conv_bias",
    "dropout_op", "dropout_op_kwargs", "deep_supervision",
}  # fmt: skip
"""Read below, or without effect on prediction."""
LARGEST_ANISOTROPY = 3.0
"""Beyond this ratio of voxel edges nnU-Net resamples the long axis on its own, by nearest neighbour."""


def resolve_configuration(plans: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    """A configuration with all that it inherits."""
    configurations = require(plans, "configurations", path)
    chain: list[dict[str, Any]] = []
    while name is not None:
        if name not in configurations or len(chain) > len(configurations):
            raise refusal(path, f"has no usable configuration {name!r}", f"one of {', '.join(configurations)}")
        chain.append(configurations[name])
        name = configurations[name].get("inherits_from")
    return {key: value for configuration in reversed(chain) for key, value in configuration.items()}


def read_network(configuration: dict[str, Any], axes: Axes, path: Path) -> NetworkSpec:
    """The network of a configuration; raises `BundleError` for anything that a specification cannot say."""
    architecture = configuration.get("architecture") or _old_architecture(configuration, path)
    class_name = str(require(architecture, "network_class_name", path)).rsplit(".", 1)[-1]
    if class_name not in ENCODERS:
        raise refusal(path, f"the network is {class_name}", " or ".join(ENCODERS))
    kwargs, encoder = require(architecture, "arch_kwargs", path), ENCODERS[class_name]
    _require_usual_parts(kwargs, encoder, path)
    stages = int(require(kwargs, "n_stages", path))
    decoder = set(_per_stage(require(kwargs, "n_conv_per_stage_decoder", path), stages - 1))
    if len(decoder) != 1:
        raise refusal(path, f"n_conv_per_stage_decoder is {sorted(decoder)}", "one number for all stages")
    try:
        return NetworkSpec(
            encoder,
            features=tuple(map(int, _per_stage(require(kwargs, "features_per_stage", path), stages))),
            depths=tuple(map(int, _per_stage(require(kwargs, _DEPTHS[encoder], path), stages))),
            decoder_convolutions=int(decoder.pop()),
            conv_bias=bool(kwargs.get("conv_bias", False)),
            kernels=_edges(require(kwargs, "kernel_sizes", path), stages, axes),
            strides=_edges(require(kwargs, "strides", path), stages, axes),
        )
    except (ConfigError, ValueError, TypeError) as error:
        raise refusal(path, f"the network cannot be described ({error})", "a U-Net of nnU-Net's planner") from error


def read_preprocess(configuration: dict[str, Any], axes: Axes, orientation: str, path: Path) -> PreprocessSpec:
    """How scans are prepared; raises `BundleError` for a way that we have no equivalent of."""
    schemes = require(configuration, "normalization_schemes", path)
    if schemes != ["ZScoreNormalization"]:
        raise refusal(path, f"normalization_schemes is {schemes}", "['ZScoreNormalization']")
    if configuration.get("preprocessor_name", "DefaultPreprocessor") != "DefaultPreprocessor":
        raise refusal(path, f"preprocessor_name is {configuration['preprocessor_name']!r}", "'DefaultPreprocessor'")
    resampling = configuration.get("resampling_fn_data", "resample_data_or_seg_to_shape")
    order = configuration.get("resampling_fn_data_kwargs", {}).get("order", 3)
    if (resampling, order) != ("resample_data_or_seg_to_shape", 3):
        raise refusal(path, f"scans are resampled by {resampling} of order {order}", "nnU-Net's cubic spline")
    normalise: Literal["brain", "box"] = "brain" if require(configuration, "use_mask_for_norm", path)[0] else "box"
    return preprocess_spec(require(configuration, "spacing", path), normalise, axes, orientation, path)


def preprocess_spec(
    spacing: Any, normalise: Literal["brain", "box"], axes: Axes, orientation: str, path: Path
) -> PreprocessSpec:
    """A specification with nnU-Net's spacing put along our axes; a length for cubes."""
    try:
        x, y, z = (float(edge) for edge in axes.ours(spacing))
        if max(x, y, z) > LARGEST_ANISOTROPY * min(x, y, z):
            raise refusal(path, f"spacing is {x, y, z} mm", f"edges that differ at most {LARGEST_ANISOTROPY:g}-fold")
        return PreprocessSpec(x if x == y == z else (x, y, z), normalise, "cubic", orientation)
    except (ConfigError, ValueError, TypeError) as error:
        raise refusal(path, f"the preprocessing cannot be described ({error})", "three edges in mm") from error


def _require_usual_parts(kwargs: dict[str, Any], encoder: Encoder, path: Path) -> None:
    """Refuse operations and options that change the function of the network without changing its weights' names."""
    usual = {
        "conv_op": ("Conv3d",),
        "norm_op": ("InstanceNorm3d",),
        "nonlin": ("LeakyReLU",),
        "block": ("BasicBlockD",),
    }
    for name, value in kwargs.items():
        if name in usual:
            if str(value).rsplit(".", 1)[-1] not in usual[name] and not (name == "block" and value is None):
                raise refusal(path, f"{name} is {value}", usual[name][0])
        elif name == "norm_op_kwargs":
            if value.get("eps", 1e-5) != 1e-5 or not value.get("affine", False):
                raise refusal(path, f"norm_op_kwargs is {value}", "eps 1e-5 and affine")
        elif name == "nonlin_kwargs":
            if (value or {}).get("negative_slope", 0.01) != 0.01:
                raise refusal(path, f"nonlin_kwargs is {value}", "a negative_slope of 0.01")
        elif name not in _KNOWN and name != _DEPTHS[encoder] and value not in (None, False):
            raise refusal(path, f"the network has {name} = {value}", "an option of nnU-Net's planner")
    for name in ("conv_op", "norm_op", "norm_op_kwargs", "nonlin"):
        require(kwargs, name, path)


def _old_architecture(configuration: dict[str, Any], path: Path) -> dict[str, Any]:
    """What plans before nnU-Net 2.4 say, in the words of today's."""
    name = str(require(configuration, "UNet_class_name", path))
    depths = require(configuration, "n_conv_per_stage_encoder", path)
    base, largest = (
        int(require(configuration, f"{key}", path)) for key in ("UNet_base_num_features", "unet_max_num_features")
    )
    dimensions = len(require(configuration, "patch_size", path))
    return {
        "network_class_name": name,
        "arch_kwargs": {
            "n_stages": len(depths),
            "features_per_stage": [min(base * 2**stage, largest) for stage in range(len(depths))],
            "conv_op": f"Conv{dimensions}d",
            "kernel_sizes": require(configuration, "conv_kernel_sizes", path),
            "strides": require(configuration, "pool_op_kernel_sizes", path),
            _DEPTHS[ENCODERS.get(name, "plain")]: depths,
            "n_conv_per_stage_decoder": require(configuration, "n_conv_per_stage_decoder", path),
            "conv_bias": True,
            "norm_op": f"InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "LeakyReLU",
        },
    }  # fmt: skip


def _per_stage(value: Any, stages: int) -> list[Any]:
    """One entry for each stage, where plans may give one for all."""
    return list(value) if isinstance(value, list | tuple) else [value] * stages


def _edges(value: Any, stages: int, axes: Axes) -> tuple[Shape, ...]:
    return tuple(axes.ours([int(edge) for edge in _per_stage(entry, 3)]) for entry in _per_stage(value, stages))
