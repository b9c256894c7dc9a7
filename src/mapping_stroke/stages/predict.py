"""The stage `predict`: probability maps of each scheme and of the ensemble, by members that never saw the case."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mapping_stroke.console import counted, name_files, say
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.dataset.folds import read_folds
from mapping_stroke.dataset.scan_checks import tame_outliers
from mapping_stroke.errors import RunFolderError
from mapping_stroke.files import file_state, read_object, write_json
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.inference.engines import choose_engine
from mapping_stroke.inference.ensemble import Ensemble, RunningAverage
from mapping_stroke.inference.sliding_window import ALL_AXES, WindowConfig
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.networks.cards import BundleMember
from mapping_stroke.networks.member_folder import find_members
from mapping_stroke.run_folder import ENSEMBLE, PROBABILITY_SUFFIX, RunFolder, write_section
from mapping_stroke.stages.environments import recorder
from mapping_stroke.stages.settings import PredictConfig
from mapping_stroke.work import ShowShare, StageResult, for_each_case, slice_of_shard

DECIMALS = 4
"""Decimals of a stored probability, so that background compresses to almost nothing."""


AS_USUAL = PredictConfig()


def predict_run(run: RunFolder, config: PredictConfig = AS_USUAL) -> StageResult:
    """Predict every case of a run with each scheme and with the ensemble.

    A labelled case is predicted by the members of its own fold, which never saw it; an unlabelled scan by all members.
    Existing maps of the same members and the same scan are kept.

    Returns:
        The folder of the maps; and why cases failed, while all others are done.

    Raises:
        CaseError: There is only one case to predict, and it failed.
        RunFolderError: There is no trained member.
    """
    cases = read_cases(run.require(run.cases_csv, "prepare DATA -o"))
    folds = read_folds(run.require(run.folds_csv, "folds"), [case for case in cases if case.mask is not None])
    if not find_members(run.members):
        raise RunFolderError(f"{run.members}: holds no trained member; run `mapping train {run.path}` first")
    engine = choose_engine(config.device, config.engine, config.precision)
    ensemble = Ensemble(open_bundle(run.members), engine, WindowConfig(mirror=ALL_AXES if config.mirror else ()))
    settings = {"mirror": config.mirror, "precision": engine.precision, "decimals": DECIMALS}
    write_section(run.config_toml, "predict", settings)
    trained = {member.card.fold for member in ensemble.members}
    all_wanted = [case for case in cases if case.mask is None or folds[case.case_id] in trained]
    wanted = all_wanted[slice_of_shard(config.shard)]
    members = counted(len(ensemble.members), "member")
    say(f"Predicting {counted(len(wanted), 'scan')} with {members} on {engine.description}")
    computed = recorder(run.environments("predict"), {"engine": engine.description}, gpu=True)
    own = {case.case_id: _members_of(case, ensemble, folds) for case in wanted}
    failed = for_each_case(
        {case.case_id: case for case in wanted},
        "Predicting",
        lambda case, show: _predict_case(run, case, ensemble, own[case.case_id], computed, show),
    )
    maps = run.probabilities(ENSEMBLE).parent
    name_files("Probability maps", maps)
    return StageResult((maps,), failed)


def _members_of(case: Case, ensemble: Ensemble, folds: Mapping[str, int]) -> list[BundleMember]:
    """The members that never saw a case."""
    return [member for member in ensemble.members if case.mask is None or member.card.fold == folds[case.case_id]]


def _predict_case(
    run: RunFolder,
    case: Case,
    ensemble: Ensemble,
    members: Sequence[BundleMember],
    computed: Callable[[], None],
    show: ShowShare,
) -> None:
    sidecar = run.probabilities(ENSEMBLE) / f"{case.case_id}_probability.json"
    provenance = {
        "scan": file_state(case.scan),
        "mirror": bool(ensemble.window.mirror),
        "precision": ensemble.engine.precision,
        "members": {member.card.name: member.weights_sha256 for member in members},
    }
    methods = [*dict.fromkeys(member.card.scheme for member in members), ENSEMBLE]
    paths = {method: run.probabilities(method) / f"{case.case_id}{PROBABILITY_SUFFIX}" for method in methods}
    if all(path.is_file() for path in (sidecar, *paths.values())) and read_object(sidecar) == provenance:
        return
    computed()
    for old in (sidecar, *paths.values()):  # so that a failure or interruption leaves no outdated map
        old.unlink(missing_ok=True)
    scan = read_image(case.scan)
    averages = {method: RunningAverage() for method in methods}
    prepared = ensemble.prepare(tame_outliers(scan))
    for number, member in enumerate(members):
        show(number / len(members))
        probability = prepared[member.card.preprocess].restore(ensemble.predict_member(member, prepared))
        averages[member.card.scheme].add(probability)
        averages[ENSEMBLE].add(probability)
    for method, running in averages.items():
        write_image(paths[method], np.round(running.result().probability, DECIMALS), scan)
    write_json(sidecar, provenance)
