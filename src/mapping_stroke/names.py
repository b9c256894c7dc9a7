"""Names that users type and read: each list is defined only here, in the order in which it is shown.

This module imports nothing, so that the command line can offer the names without loading the code behind them.
"""

from typing import Literal, get_args

PAPER_SCHEMES = ("default", "dice-topk10", "residual", "self-training")
"""Training schemes of the paper, in the order of its tables."""

METHOD_LABELS = {
    "default": "Default",
    "dice-topk10": "DTK10",
    "residual": "Res U-Net",
    "self-training": "Self-Training",
    "carvemix": "CarveMix",
    "mixup": "Mixup",
    "ensemble": "Ensemble",
    "ensemble-pp": "Ensemble + PP",
}
"""The published names of the schemes and of their average, without and with post-processing (PP)."""

VariantName = Literal["paper", "container"]
SizeName = Literal["full", "compact", "fine", "small", "tiny"]
PresetName = Literal["fast", "balanced", "paper"]
RuleName = Literal["mapping", "challenge", "paper", "none"]
ProfileName = Literal["atlas2022", "isles2026"]
EngineName = Literal["auto", "openvino", "torch"]
PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]
TrainingPrecision = Literal["auto", "float32", "bfloat16"]
LayoutName = Literal["auto", "results", "atlas", "bids", "plain"]
Part = Literal["training", "validation", "test"]
"""The fixed split of people and lesion masks that strokes are simulated from."""
GroupBy = Literal["subject", "site"]
"""Scans that stay in one fold: those of a person, or of a site."""

TABLE_RULES: tuple[str, ...] = get_args(RuleName)[::-1]
"""The rules in the order of tables, which end with the default of `mapping segment`."""

PAPER = (
    "Huo J, Chen L, Liu Y, Boels M, Granados A, Ourselin S, Sparks R. MAPPING: Model Average with Post-processing for "
    "Stroke Lesion Segmentation. arXiv:2211.15486, 2022. https://doi.org/10.48550/arXiv.2211.15486"
)
"""The paper, as it is cited."""
