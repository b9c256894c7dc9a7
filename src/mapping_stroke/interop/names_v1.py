"""Parameters of nnU-Net v1's networks under the names that v2's, and so ours, have."""

import re

from mapping_stroke.networks.spec import Weights

_PLAIN = (
    (r"conv_blocks_context\.(\d+)\.blocks\.(\d+)\.", r"encoder.stages.\1.0.convs.\2."),
    (r"tu\.", "decoder.transpconvs."),
    (r"seg_outputs\.", "decoder.seg_layers."),
)
_PLAIN_HALVES = re.compile(r"conv_blocks_(context|localization)\.(\d+)\.([01])\.blocks\.(\d+)\.(.+)")
"""The deepest stage and those of the decoder hold their last convolution apart from the others."""
_RESIDUAL = (
    (r"encoder\.initial_(conv|norm)\.", r"encoder.stem.convs.0.\1."),
    (r"decoder\.tus\.", "decoder.transpconvs."),
    (r"decoder\.deep_supervision_outputs\.", "decoder.seg_layers."),
)
_BLOCK = re.compile(r"encoder\.stages\.(\d+)\.convs\.(\d+)\.(conv|norm)(\d)\.(.+)")
_SKIP = re.compile(r"encoder\.stages\.(\d+)\.convs\.(\d+)\.downsample_skip\.([01])\.(.+)")


def rename_plain(weights: Weights) -> Weights:
    """Rename what `Generic_UNet` holds; a name that is not known stays as it is."""
    return {_plain_name(name, weights).replace(".instnorm.", ".norm."): array for name, array in weights.items()}


def rename_residual(weights: Weights) -> Weights:
    """Rename what `FabiansUNet` holds, each parameter once; a name that is not known stays as it is."""
    outputs = {name.split(".")[2] for name in weights if name.startswith("decoder.tus.")}
    finest = f"decoder.seg_layers.{len(outputs) - 1}."
    return {
        _residual_name(name).replace("decoder.segmentation_output.", finest): array
        for name, array in weights.items()
        if ".all." not in name  # the same parameters under a second name
    }


def _plain_name(name: str, weights: Weights) -> str:
    halves = _PLAIN_HALVES.fullmatch(name)
    if halves is None:
        return _replace(name, _PLAIN)
    path, stage, half, number, rest = halves.groups()
    before = f"conv_blocks_{path}.{stage}.0.blocks."
    first = len({other.split(".")[4] for other in weights if other.startswith(before)}) if half == "1" else 0
    place = f"encoder.stages.{stage}.0" if path == "context" else f"decoder.stages.{stage}"
    return f"{place}.convs.{first + int(number)}.{rest}"


def _residual_name(name: str) -> str:
    block, skip = _BLOCK.fullmatch(name), _SKIP.fullmatch(name)
    if block:
        stage, number, kind, which, rest = block.groups()
        return f"encoder.stages.{stage}.blocks.{number}.conv{which}.{kind}.{rest}"
    if skip:
        stage, number, part, rest = skip.groups()
        return f"encoder.stages.{stage}.blocks.{number}.skip.0.{'norm' if part == '1' else 'conv'}.{rest}"
    return _replace(name, _RESIDUAL)


def _replace(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in patterns:
        name, count = re.subn(rf"^{pattern}", replacement, name)
        if count:
            break
    return name
