"""Methods text for a paper: how scans were segmented, what to cite, and the terms of the model."""

from dataclasses import dataclass
from importlib.metadata import version

from mapping_stroke.cohort.segmenter import Segmenter
from mapping_stroke.environment import describe_environment
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.names import PAPER
from mapping_stroke.networks.cards import BundleCard
from mapping_stroke.rules import PostprocessConfig
from mapping_stroke.space.model_input import is_registered, needs_brain

PACKAGES = ("torch", "openvino", "numpy", "scipy", "SimpleITK", "nibabel")
"""Packages whose versions the text names."""
SIMPLE_ITK = "SimpleITK, for the registration: Lowekamp et al. 2013, https://doi.org/10.3389/fninf.2013.00045"
DEEPBET = "deepbet, for the brain extraction: Fisch et al. 2024, https://doi.org/10.1016/j.compbiomed.2024.108845"
NOT_CORRECTED = "Masks were not corrected by hand."
_REGISTERED = (
    "corrected for its bias field (N4) and registered to MNI152 space by an affine transform (SimpleITK); the "
    "probability map was resampled to the grid of the scan by linear interpolation."
)
_SPACES = {
    "auto": f"A scan that did not lie in MNI152 space was {_REGISTERED}",
    "native": f"Every scan was {_REGISTERED}",
    "mni": "Scans were not registered.",
}
_EXTRACTED = (
    "The brain of each scan was extracted with deepbet (Fisch et al. 2024), unless the scan was already skull-stripped "
    "or a brain mask was given"
)


@dataclass(frozen=True)
class Methods:
    """How a run segments its scans, in words.

    Attributes:
        text: A paragraph for a paper.
        citations: What to cite, one line each.
        terms: Terms of the model.
    """

    text: str
    citations: tuple[str, ...]
    terms: str

    def markdown(self) -> str:
        """The contents of `CITATION.md`."""
        cite = "\n".join(f"- {line}" for line in self.citations)
        return f"""# Methods and citations

This page was written by the run that produced these results. You may use the text as it is; adapt it if you did more.

## Methods

{self.text}

{NOT_CORRECTED} *Keep this sentence, or state how many were reviewed and corrected.*

## To cite

{cite}

## Terms of the model

{self.terms}

For research only. Not a medical device: do not base decisions about a patient on these results.
"""


def describe_methods(segmenter: Segmenter) -> Methods:
    """Methods text, references and terms of a model with its settings on this machine."""
    card, ensemble, computation = segmenter.bundle.card, segmenter.ensemble, segmenter.computation
    environment = describe_environment(gpu=False)
    space = computation.space if is_registered(card, computation.space) else "mni"
    extracts = needs_brain(card, computation.space)
    versions = ", ".join(f"{package} {environment[package]}" for package in PACKAGES)
    text = (
        f"Stroke lesions were segmented on T1-weighted scans by MAPPING (mapping-stroke {version('mapping-stroke')}; "
        f'Huo et al. 2022) with the model "{card.name}" (SHA-256 {segmenter.bundle.sha256}), '
        f"{_describe_networks(card, ensemble)} {_describe_extraction(card) if extracts else ''}{_SPACES[space]} "
        f"{_describe_average(card, ensemble)} The probability map was post-processed by the rule "
        f'"{computation.rule}" ({_levels(segmenter.rule)}). '
        f"Lesions are face-connected. Computed on {ensemble.engine.description} with Python {environment['python']}, "
        f"{versions} ({environment['system']})."
    )
    own = " ".join(card.citation.split())
    model = (f"the model: {own}",) if own and PAPER not in own else ()
    tools = ((DEEPBET,) if extracts else ()) + ((SIMPLE_ITK,) if space != "mni" else ())
    terms = card.licence or "not stated by its authors; ask them before you use it"
    return Methods(text, (PAPER, *model, *tools), terms)


def _describe_networks(card: BundleCard, ensemble: Ensemble) -> str:
    """Number, schemes and training of the networks that compute; ends the sentence."""
    used = [member.card for member in ensemble.members]
    networks = "one network" if len(used) == 1 else f"an ensemble of {len(used)} networks"
    schemes = ", ".join(dict.fromkeys(member.scheme for member in used))
    training = card.training_data.strip().rstrip(".")
    subject = "It was" if len(used) == 1 else "The networks were"
    return f"{networks} ({schemes}).{f' {subject} trained on: {training}.' if training else ''}"


def _describe_extraction(card: BundleCard) -> str:
    only = "; only the brain was passed to the model" if card.shows == "brain" else ""
    return f"{_EXTRACTED}{only}. "


def _describe_average(card: BundleCard, ensemble: Ensemble) -> str:
    """How patches cover a scan, and the quantities that are averaged and compared."""
    single, mirrored = len(ensemble.members) == 1, describe_mirrorings(ensemble)
    cover = "on a single brain-sized window" if ensemble.window.cover == "window" else "in overlapping tiles"
    average = "probabilities" if card.average == "probability" else "logits"
    if single and not mirrored:
        return f"The network was applied {cover}."
    over = "mirrorings" if single else "networks"
    subject = "The network was" if single else "The networks were"
    each = "" if single else "each "
    return (
        f"{subject} applied {cover}{f', {each}over {mirrored}' if mirrored else ''}; the {average} were averaged. "
        f"Uncertainty is the standard deviation of the probability over the {over}."
    )


def describe_mirrorings(ensemble: Ensemble) -> str:
    """Number of mirrored versions of each patch that the members average, as `8 mirrorings`, or empty without TTA."""
    fewest, most = ensemble.mirrorings
    return f"{'up to ' if fewest < most else ''}{most} mirrorings" if most > 1 else ""


def _levels(rule: PostprocessConfig) -> str:
    small, large = (f"core P > {levels.core:g}, edge P > {levels.edge:g}" for levels in (rule.small, rule.large))
    unit = {"vox": "voxels", "mm3": "mm3"}[rule.load_unit]
    by_load = f"loads below {rule.small_load:g} {unit} at P > 0.5: {small}; larger ones: {large}"
    told = [small if rule.has_one_load else by_load]
    if rule.least_peak > 0:
        told.append(f"nothing is marked in a scan without a voxel at P > {rule.least_peak:g}")
    if rule.smallest_mm3 > 0:
        told.append(f"lesions below {rule.smallest_mm3:g} mm3 are dropped")
    return "; ".join([*told, "all levels are in run.json"])
