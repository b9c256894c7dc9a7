"""What the methods are called where people read them."""

LABELS = {
    "default": "Default",
    "dice-topk10": "DTK10",
    "residual": "Res U-Net",
    "self-training": "Self-Training",
    "carvemix": "CarveMix",
    "mixup": "Mixup",
    "ensemble": "Ensemble",
    "ensemble-pp": "Ensemble + PP",
}
"""The published names of the schemes, and the paper's of their average, without and with post-processing (PP)."""


def method_label(method: str) -> str:
    """The published name of a method; any other keeps its own."""
    return LABELS.get(method, method)


def short_id(case_id: str) -> str:
    """A case id that fits beside a slice: a long one keeps its ends."""
    return case_id if len(case_id) <= 28 else f"{case_id[:12]}…{case_id[-13:]}"


def load_words(load_ml: float) -> str:
    """A lesion load as a person says it: `0.013 mL`, `0.18 mL`, `5.2 mL`, `131 mL`."""
    decimals = 3 if load_ml < 0.095 else 2 if load_ml < 0.95 else 1 if load_ml < 9.5 else 0
    return f"{load_ml:.{decimals}f} mL"
