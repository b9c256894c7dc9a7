"""Pseudo-labels for self-training: the best scheme's member of a fold labels the unlabelled scans."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mapping_stroke.console import say, track
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.cases import Case
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.dataset.scan_checks import tame_outliers
from mapping_stroke.errors import TrainingError
from mapping_stroke.files import fingerprint, none_if_nan, read_object, write_json
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.inference.engines import choose_engine
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.inference.sliding_window import WindowConfig
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.networks.member_folder import has_member, read_card
from mapping_stroke.run_folder import MASK_SUFFIX, RunFolder
from mapping_stroke.stages.arrays import make_arrays, way_of
from mapping_stroke.stages.prepare import CONTENTS_FILE, content_hashes
from mapping_stroke.training.pseudo_labels import best_scheme, leave_out, make_pseudo_label
from mapping_stroke.training.schemes import SCHEMES

PROVENANCE_FILE = "provenance.json"
NAMED = 5
"""Maximum number of scans named in one line."""


def label_unlabelled(
    run: RunFolder, cases: Sequence[Case], folds: Mapping[str, int], fold: int, device: torch.device
) -> dict[str, Any]:
    """Write a pseudo-label for every unlabelled scan, made by a member that never saw this fold's validation cases.

    The scheme has the highest mean validation Dice over the other folds, so that no case influences the labels of the
    member that it validates. Unlabelled scans of people whose labelled scans validate that member get no label. Labels
    are reused as long as the member that made them and the scans are unchanged, also those of an interrupted call.

    Args:
        run: Run folder with members of the fold.
        cases: All cases of the run.
        folds: Fold of each labelled case.
        fold: Fold of the members that are trained with the labels.
        device: Device for the predictions.

    Returns:
        Provenance: scheme, fold, SHA-256 of its weights and of the whole model, a hash of the contents of the
        scans, the Dice of all schemes, and the mean confidence of each case.

    Raises:
        TrainingError: There is no unlabelled scan, or no scheme has been trained on this fold.
        FileError: A scan cannot be read.
    """
    unlabelled = _unlabelled_of_others(cases, folds, fold)
    marks = content_hashes(run.arrays / CONTENTS_FILE, {case.case_id: (case.scan,) for case in unlabelled})
    scans = fingerprint(marks)
    made_before = _labels_made_before(run, unlabelled, scans, fold)
    if made_before:
        return made_before
    dice = _dice_on_other_folds(run, fold)
    scheme = best_scheme(dice)
    member = run.member(scheme, fold)
    maker = {
        "scheme": scheme,
        "fold": fold,
        "weights_sha256": read_card(member)[1],
        "bundle_sha256": open_bundle(member).sha256,
        "scans": scans,
        "dice_on_other_folds": {name: none_if_nan(value) for name, value in dice.items()},
    }
    folder = run.pseudo_labels(fold)
    confidence = _labels_begun(folder, maker)
    done = f", {len(confidence)} of them already labelled" if confidence else ""
    say(f"Pseudo-labels of fold {fold}: {len(unlabelled)} unlabelled scans{done}, by {scheme}")
    missing = [case for case in unlabelled if case.case_id not in confidence]
    for case_id, mean in _label_all(folder, missing, member, device):
        confidence[case_id] = mean
        # at once: a job with a time limit may need several calls
        write_json(folder / PROVENANCE_FILE, maker | {"confidence": confidence})
    return maker | {"confidence": confidence}


def choose_labels(provenance: Mapping[str, Any], confidence_floor: float | None) -> dict[str, Any]:
    """Select the labels of a fold that reach the confidence floor, and add the selection to their provenance.

    Returns:
        The provenance with `confidence_floor`, and `left_out`: the ids of the labels below it.

    Raises:
        TrainingError: No label reaches the floor.
    """
    confidence, fold = provenance["confidence"], provenance["fold"]
    left_out = leave_out(confidence, confidence_floor)
    if len(left_out) == len(confidence):
        highest = max((mean for mean in confidence.values() if mean is not None), default=None)
        found = "all are empty" if highest is None else f"the highest mean confidence is {highest:.4f}"
        raise TrainingError(
            f"fold {fold}: none of {len(confidence)} pseudo-labels reaches --confidence-floor {confidence_floor} "
            f"({found}); lower the floor, or leave the scheme out"
        )
    if confidence_floor is not None:
        names = f" ({', '.join(left_out[:NAMED])}{', ...' * (len(left_out) > NAMED)})" if left_out else ""
        say(
            f"Pseudo-labels of fold {fold}: {len(confidence) - len(left_out)} of {len(confidence)} reach the "
            f"confidence floor of {confidence_floor}; {len(left_out)} left out{names}"
        )
    return {**provenance, "confidence_floor": confidence_floor, "left_out": left_out}


def _unlabelled_of_others(cases: Sequence[Case], folds: Mapping[str, int], fold: int) -> list[Case]:
    """The unlabelled scans of all people except those with labelled scans in the fold."""
    unlabelled = [case for case in cases if case.mask is None]
    if not unlabelled:
        raise TrainingError(
            "self-training needs unlabelled scans, but this run has none; add them to the data set (ATLAS: Testing/), "
            "or leave the scheme out"
        )
    judging = {case.subject for case in cases if folds.get(case.case_id) == fold}
    of_others = [case for case in unlabelled if case.subject not in judging]
    if not of_others:
        raise TrainingError(
            f"fold {fold}: all {len(unlabelled)} unlabelled scans are of people whose labelled scans validate it, and "
            "must not train its members; add scans of other people, or leave the scheme out"
        )
    if len(of_others) < len(unlabelled):
        left_out = len(unlabelled) - len(of_others)
        say(f"Pseudo-labels of fold {fold}: {left_out} scans of people whose labelled scans validate it are left out")
    return of_others


def _labels_made_before(run: RunFolder, unlabelled: Sequence[Case], scans: str, fold: int) -> dict[str, Any] | None:
    """The provenance of existing labels if they are complete and scans and member are unchanged; otherwise None."""
    folder = run.pseudo_labels(fold)
    provenance = read_object(folder / PROVENANCE_FILE)
    if not {"scheme", "weights_sha256", "scans", "confidence"} <= provenance.keys():
        return None
    maker = run.member(provenance["scheme"], fold)
    unchanged = has_member(maker) and read_card(maker)[1] == provenance["weights_sha256"]
    complete = provenance["confidence"].keys() == {case.case_id for case in unlabelled}
    return provenance if unchanged and complete and provenance["scans"] == scans else None


def _labels_begun(folder: Path, maker: Mapping[str, Any]) -> dict[str, float | None]:
    """The confidence of labels that an interrupted call has made in the same way."""
    found = read_object(folder / PROVENANCE_FILE)
    confidence = found.get("confidence")
    same = all(found.get(name) == maker[name] for name in ("scheme", "weights_sha256", "scans"))
    if not same or not isinstance(confidence, dict):
        return {}
    return {case_id: value for case_id, value in confidence.items() if (folder / f"{case_id}{MASK_SUFFIX}").is_file()}


def pseudo_arrays(
    run: RunFolder, cases: Sequence[Case], chosen: Mapping[str, Any], spec: PreprocessSpec
) -> list[CaseArrays]:
    """The selected pseudo-labelled scans as training cases; their ids end with `_pseudo`."""
    labels = run.pseudo_labels(chosen["fold"])
    wanted = chosen["confidence"].keys() - set(chosen["left_out"])
    triples = [
        (f"{case.case_id}_pseudo", case.scan, labels / f"{case.case_id}{MASK_SUFFIX}")
        for case in cases
        if case.case_id in wanted
    ]
    folder = run.arrays / fingerprint({"pseudo": chosen["fold"], "preprocess": way_of(spec)})
    scans = run.arrays / fingerprint({"scans": way_of(spec)})  # the same for all folds
    return list(make_arrays(folder, triples, spec, scans).values())


def _label_all(
    folder: Path, cases: Sequence[Case], member_folder: Path, device: torch.device
) -> Iterator[tuple[str, float | None]]:
    """Write the label of each scan, and yield its case id and mean confidence."""
    member = Ensemble(open_bundle(member_folder), choose_engine(str(device), "torch"), WindowConfig())
    for case in track(cases, "Pseudo-labels", len(cases)):
        scan = read_image(case.scan)
        label = make_pseudo_label(member.predict(member.prepare(tame_outliers(scan))).probability)
        write_image(folder / f"{case.case_id}{MASK_SUFFIX}", label.mask, scan)
        yield case.case_id, None if np.isnan(label.confidence) else round(label.confidence, 4)


def _dice_on_other_folds(run: RunFolder, fold: int) -> dict[str, float]:
    """Mean validation Dice on the other folds of every scheme that has a member of this fold; NaN if there is none.

    Schemes are compared on the folds on which all of them are trained.
    """
    dice: dict[str, dict[int, float]] = {}
    for scheme in SCHEMES:
        folders = run.member(scheme.name, fold).parent.glob("fold_*")
        cards = [read_card(folder)[0] for folder in folders if has_member(folder)]
        if not scheme.pseudo_labels and any(card.fold == fold for card in cards):
            dice[scheme.name] = {card.fold: card.training["validation_dice"] for card in cards if card.fold != fold}
    common = set.intersection(*map(set, dice.values())) if dice else set()
    return {
        name: float(np.mean([of_fold[other] for other in sorted(common)])) if common else float("nan")
        for name, of_fold in dice.items()
    }
