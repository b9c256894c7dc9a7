"""A model from scratch: train on brains and masks, hold cases out, pack, fit the rule, evaluate.

A second call resumes: members, cases, maps and scores stay, and the model is packed and fitted from them again.
"""

import time
from contextlib import nullcontext
from dataclasses import replace

from mapping_stroke.console import say
from mapping_stroke.inference.engines import choose_device
from mapping_stroke.models.evaluate import evaluate_model
from mapping_stroke.models.fit import fit_model
from mapping_stroke.models.pack import pack_model
from mapping_stroke.models.settings import (
    EvaluateConfig,
    FitConfig,
    HeldOutCases,
    ModelConfig,
    ModelLabels,
    Prediction,
    Selection,
)
from mapping_stroke.models.train import rounds_of, sources_folder, train_model
from mapping_stroke.models.warm_starts import FOLD
from mapping_stroke.networks.member_folder import has_member
from mapping_stroke.processes import StopRequest, stopping_in
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.simulation.cohort import Sources
from mapping_stroke.simulation.held_out import SPACING_MM, Request, write_held_out
from mapping_stroke.stages.progress import deadline
from mapping_stroke.training.schemes import find_size

GRACE_S = 2.0
"""Time by which a call by the clock may overrun before it is stopped, if starting took too long."""
UNFITTED, FITTED, EVALUATION, HELD_OUT = "unfitted.mapping", "model.mapping", "evaluation", "held-out"


def make_model(
    run: RunFolder,
    sources: Sources,
    config: ModelConfig,
    held_out: HeldOutCases,
    labels: ModelLabels,
    stop: StopRequest,
) -> list[str]:
    """Train the members, pack them, fit the rule on held-out people and masks, and evaluate the model on yet others.

    Args:
        run: Run folder; the model is written to `model.mapping`, its scores to `evaluation/`.
        sources: Brains and masks.
        config: Settings of the training.
        held_out: Number of held-out cases.
        labels: Facts for the model's card.
        stop: Polled for a request to stop.

    Returns:
        The ids of cases that could not be evaluated; none if this call trained by the clock, which leaves no time.

    Raises:
        MappingError: See `train_model`, `fit_model`, `evaluate_model`.
    """
    by_clock = config.minutes and not all(has_member(run.member(name, FOLD)) for name in rounds_of(config)[0])
    with stopping_in(deadline(60 * config.minutes) - time.monotonic() + GRACE_S) if by_clock else nullcontext():
        train_model(run, sources, config, stop)
    if by_clock:
        return []
    device, cache = choose_device(config.device), sources_folder(run)
    say("\n[held-out cases]")
    requests = (Request("validation", held_out.validation, config.seed), Request("test", held_out.test, config.seed))
    validation, test = (
        write_held_out(run.path / HELD_OUT / request.part, sources, request, cache, device) for request in requests
    )
    stop.check()
    say("\n[fit]")
    unfitted, fitted = run.path / UNFITTED, run.path / FITTED
    # with voxels this coarse, shifted grids sample between the scans' voxels
    coarse = min(find_size(config.size).preprocess.edges_mm) >= 2 * SPACING_MM
    selection = Selection(config.schemes, half=True, spread=coarse)
    pack_model(run.path, unfitted, _complete(labels), selection, overwrite=True)
    prediction = Prediction(device=config.device)
    fitting = FitConfig(validation.cohort, validation.healthy, keep_maps=True, prediction=prediction)
    fit_model(unfitted, fitting, fitted, overwrite=True)
    stop.check()
    say("\n[evaluate]")
    evaluation = EvaluateConfig(test.cohort, test.healthy, held_out.heads, prediction=prediction)
    return evaluate_model(fitted, evaluation, run.path / EVALUATION, overwrite=True)


def _complete(labels: ModelLabels) -> ModelLabels:
    """The labels, completed with the properties of every simulated scan."""
    return replace(
        labels,
        contrast="T1w" if labels.contrast == "keep" else labels.contrast,
        space="MNI152" if labels.space == "keep" else labels.space,
        shows="brain" if labels.shows == "keep" else labels.shows,
    )
