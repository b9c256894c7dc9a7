"""Self-training's labels: the best scheme's member of a fold labels the unlabelled scans, and says that it did."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mapping_stroke.console import say, track
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.cases import Case
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import TrainingError
from mapping_stroke.experiment.arrays import make_arrays
from mapping_stroke.files import fingerprint, read_json, write_json
from mapping_stroke.image import read_image, write_image
from mapping_stroke.inference.ensemble import predict_members
from mapping_stroke.inference.sliding_window import WindowConfig
from mapping_stroke.networks.bundle import has_member, read_card, read_member
from mapping_stroke.run_folder import MASK_SUFFIX, RunFolder
from mapping_stroke.training.pseudo_labels import best_scheme, make_pseudo_label
from mapping_stroke.training.schemes import SCHEMES

PROVENANCE_FILE = "provenance.json"


def label_unlabelled(run: RunFolder, cases: Sequence[Case], fold: int, device: torch.device) -> dict[str, Any]:
    """Write a pseudo-label for every unlabelled scan, made by a member that never saw this fold's validation cases.

    The scheme is the one of the highest mean validation Dice over its trained folds.

    Returns:
        Provenance: scheme, fold, SHA-256 of the weights, and for each case the mean confidence.

    Raises:
        TrainingError: There is no unlabelled scan, or no scheme has been trained on this fold.
    """
    unlabelled = [case for case in cases if case.mask is None]
    if not unlabelled:
        raise TrainingError(
            "self-training needs unlabelled scans and this run has none; add them to the data set (ATLAS: Testing/), "
            "or leave the scheme out"
        )
    scheme = best_scheme(_validation_dice(run, fold))
    member = run.member(scheme, fold)
    weights_sha256 = read_card(member)[1]
    folder = run.pseudo_labels(fold)
    provenance_json = folder / PROVENANCE_FILE
    if provenance_json.is_file():
        provenance: dict[str, Any] = read_json(provenance_json)
        if provenance["weights_sha256"] == weights_sha256 and provenance["confidence"].keys() == {
            case.case_id for case in unlabelled
        }:
            return provenance
    say(f"Pseudo-labels of fold {fold}: {len(unlabelled)} unlabelled scans, by {scheme}")
    confidence = _label_all(folder, unlabelled, member, device)
    provenance = {"scheme": scheme, "fold": fold, "weights_sha256": weights_sha256, "confidence": confidence}
    write_json(provenance_json, provenance)
    return provenance


def pseudo_arrays(run: RunFolder, cases: Sequence[Case], fold: int, spec: PreprocessSpec) -> list[CaseArrays]:
    """The pseudo-labelled scans of a fold as training cases; their ids say that the label is a pseudo-label."""
    labels = run.pseudo_labels(fold)
    provenance = (labels / PROVENANCE_FILE).read_text(encoding="utf-8")
    triples = [
        (f"{case.case_id}_pseudo", case.scan, labels / f"{case.case_id}{MASK_SUFFIX}")
        for case in cases
        if case.mask is None
    ]
    folder = run.arrays / fingerprint({"pseudo": provenance, "preprocess": spec.to_json()})
    return list(make_arrays(folder, triples, spec).values())


def _label_all(
    folder: Path, cases: Sequence[Case], member_folder: Path, device: torch.device
) -> dict[str, float | None]:
    member = read_member(member_folder, device)
    confidence: dict[str, float | None] = {}
    for case in track(cases, "Pseudo-labels", len(cases)):
        scan = read_image(case.scan)
        probability = next(predict_members([member], scan, WindowConfig(), device))
        label = make_pseudo_label(probability)
        write_image(folder / f"{case.case_id}{MASK_SUFFIX}", label.mask, scan.affine)
        confidence[case.case_id] = None if np.isnan(label.confidence) else round(label.confidence, 4)
    return confidence


def _validation_dice(run: RunFolder, fold: int) -> dict[str, float]:
    """Mean validation Dice of every scheme without pseudo-labels that has a member of this fold."""
    dice = {}
    for scheme in SCHEMES:
        folders = sorted(run.member(scheme.name, fold).parent.glob("fold_*"))
        trained = [read_card(folder)[0] for folder in folders if has_member(folder)]
        if not scheme.pseudo_labels and any(card.fold == fold for card in trained):
            dice[scheme.name] = float(np.mean([card.training["validation_dice"] for card in trained]))
    return dice
