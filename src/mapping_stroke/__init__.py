"""MAPPING: find stroke lesions on T1-weighted brain MRI by model averaging and size-aware post-processing.

Source: Huo et al. 2022, arXiv:2211.15486. Each public name is imported when it is first used, so that importing the
package costs nothing and loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mapping_stroke.cohort.in_python import Segmenter
    from mapping_stroke.cohort.segmented import Segmentation
    from mapping_stroke.dataset.folds import size_balanced_folds
    from mapping_stroke.errors import MappingError
    from mapping_stroke.evaluation.ranking import rank
    from mapping_stroke.evaluation.score import score
    from mapping_stroke.images.image import Image, read_image
    from mapping_stroke.pipeline import segment
    from mapping_stroke.rules import postprocess

__version__ = "0.1.0"

__all__ = [
    "Image",
    "MappingError",
    "Segmentation",
    "Segmenter",
    "postprocess",
    "rank",
    "read_image",
    "score",
    "segment",
    "size_balanced_folds",
]

_HOMES = {
    "Image": "images.image",
    "MappingError": "errors",
    "Segmentation": "cohort.segmented",
    "Segmenter": "cohort.in_python",
    "postprocess": "rules",
    "rank": "evaluation.ranking",
    "read_image": "images.image",
    "score": "evaluation.score",
    "segment": "pipeline",
    "size_balanced_folds": "dataset.folds",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mapping_stroke' has no attribute {name!r}")
    value = getattr(import_module(f"mapping_stroke.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
