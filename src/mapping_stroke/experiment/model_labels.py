"""What a person says about a model when it is packed."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ModelLabels:
    """Facts for the card of a model; what is left out stays as the source has it."""

    name: str = ""
    """What to call the model, in one line."""
    description: str = ""
    """What it is for, and how it was made."""
    training_data: str = ""
    """The scans that it was trained on: data set, version, number, selection."""
    licence: str = ""
    """Under what terms others may use it, such as `CC-BY-4.0`."""
    citation: str = ""
    """What to cite."""
    contrast: Literal["keep", "unknown", "T1w", "other"] = "keep"
    """Of the training scans; `mapping segment` warns of a scan that does not look like a `T1w` where that is said."""
    space: Literal["keep", "unknown", "MNI152", "native"] = "keep"
    """Where the training scans lay; `mapping segment` registers a scan that lies elsewhere where `MNI152` is said."""
    shows: Literal["keep", "unknown", "head", "brain"] = "keep"
    """What they showed of people: where `brain` is said, `mapping segment` takes the rest of a head away."""
    rule: Literal["keep", "mapping", "challenge", "paper", "none"] = "keep"
    """Store the thresholds of this post-processing rule as the model's own; `keep` leaves them as they are."""
    fast_cover: Literal["keep", "tiles", "window"] = "keep"
    """How the preset `fast` covers a scan: `window`, if that costs under 0.005 Dice (`mapping bench agreement`)."""
