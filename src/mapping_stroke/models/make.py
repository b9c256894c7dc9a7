"""A model from brains and masks up: train, hold out, pack, fit the rule, judge.

Called again it goes on: members, cases, maps and scores stay; from them it packs and fits anew.
"""

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from mapping_stroke.console import say
from mapping_stroke.errors import ConfigError
from mapping_stroke.inference.engines import choose_device
from mapping_stroke.models.evaluate import EvaluateConfig, evaluate_model
from mapping_stroke.models.fit import fit_model
from mapping_stroke.models.judge import EvaluationData
from mapping_stroke.models.labels import ModelLabels
from mapping_stroke.models.lessons import FOLD, ModelConfig
from mapping_stroke.models.pack import Selection, pack_model
from mapping_stroke.models.train import sources_folder, train_model
from mapping_stroke.networks.member_folder import has_member
from mapping_stroke.processes import StopRequest, stopping_in
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.simulation.cohort import Sources
from mapping_stroke.simulation.held_out import SPACING_MM, Request, write_held_out
from mapping_stroke.stages.progress import deadline
from mapping_stroke.training.schemes import find_size

GRACE_S = 2.0
"""So much later than planned a call by the clock is stopped, if starting took too long."""
UNFITTED, FITTED, EVALUATION, HELD_OUT = "unfitted.mapping", "model.mapping", "evaluation", "held-out"


@dataclass(frozen=True)
class HoldOut:
    """How many cases are held out.

    Attributes:
        validation: Cases on which the rule is fitted.
        test: Cases by which the model is judged.
        heads: Healthy scans of whole heads, files or folders, by which it is judged, too.
    """

    validation: int = 60
    test: int = 120
    heads: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.validation < 10 or self.test < 1:
            raise ConfigError(
                f"got --validation {self.validation} --test {self.test}, expected 10 or more to fit, 1 or more to judge"
            )


def make_model(
    run: RunFolder, sources: Sources, config: ModelConfig, held_out: HoldOut, labels: ModelLabels, stop: StopRequest
) -> list[str]:
    """Train the members, pack them, fit the rule on held-out people and masks, and judge the model on yet others.

    Args:
        run: Where everything is kept; the model is `model.mapping`, its scores are in `evaluation/`.
        sources: Brains and masks.
        config: How members are trained.
        held_out: How many cases.
        labels: For the model's card.
        stop: Asked whether to stop.

    Returns:
        The ids of cases that could not be judged; none where this call trained by the clock, which leaves no time.

    Raises:
        MappingError: See `train_model`, `fit_model`, `evaluate_model`.
    """
    by_clock = config.minutes and not all(has_member(run.member(name, FOLD)) for name in config.rounds[0])
    with stopping_in(deadline(60 * config.minutes) - time.monotonic() + GRACE_S) if by_clock else nullcontext():
        train_model(run, sources, config, stop)
    if by_clock:
        return []
    device, cache = choose_device(config.device), sources_folder(run)
    say("\n[held-out cases]")
    requests = (
        Request("validation", held_out.validation, config.seed),
        Request("test", held_out.test, config.seed),
    )
    validation, test = (
        write_held_out(run.path / HELD_OUT / request.part, sources, request, cache, device) for request in requests
    )
    stop.check()
    say("\n[fit]")
    unfitted, fitted = run.path / UNFITTED, run.path / FITTED
    coarse = (
        min(find_size(config.size).preprocess.edges_mm) >= 2 * SPACING_MM
    )  # grids can lie between the scans' voxels
    selection = Selection(config.schemes, half=True, spread=coarse, beside=config.model if config.beside else "")
    pack_model(run.path, unfitted, _complete(labels), selection, overwrite=True)
    how = EvaluateConfig(device=config.device)
    fitting = EvaluationData(validation.cohort, validation.healthy)
    fit_model(unfitted, fitting, fitted, how, keep_maps=True, overwrite=True)
    stop.check()
    say("\n[evaluate]")
    judging = EvaluationData(test.cohort, test.healthy, held_out.heads)
    return evaluate_model(fitted, judging, run.path / EVALUATION, how, overwrite=True)


def _complete(labels: ModelLabels) -> ModelLabels:
    """The labels with what is known of every simulated scan."""
    return replace(
        labels,
        contrast="T1w" if labels.contrast == "keep" else labels.contrast,
        space="MNI152" if labels.space == "keep" else labels.space,
        shows="brain" if labels.shows == "keep" else labels.shows,
    )
