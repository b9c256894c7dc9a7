"""A long training as one calls it: stopped, gone on, taken elsewhere, grown from, refused."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapping_stroke.cli import main
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import ConfigError, RunFolderError, Stopped, TrainingError
from mapping_stroke.models import make as make_model
from mapping_stroke.models import schedule as train_schedule
from mapping_stroke.models import train as train_model
from mapping_stroke.models.settings import HeldOutCases, ModelConfig, ModelLabels
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.networks.spec import Weights
from mapping_stroke.processes import StopRequest, listening, stopping_in
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.simulation import bank as simulation_bank
from mapping_stroke.simulation.cohort import Sources
from mapping_stroke.stages.member import Plan
from mapping_stroke.training.checkpoint import NEWEST
from mapping_stroke.training.schedule import Session, plan_schedule
from mapping_stroke.training.schemes import SIZES, find_scheme
from phantoms import COARSE

CONFIG = ModelConfig("tiny", patches=10)
STATE = "tiny-default.state"


@pytest.fixture(scope="module", autouse=True)
def minute_sizes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", COARSE)
        patch.setattr(simulation_bank, "FINER", 1)
        patch.setattr(train_model, "VALIDATION_CASES", 2)
        patch.setattr(train_model, "UNLABELLED", 2)
        yield


@pytest.fixture(scope="module")
def whole(minute_sizes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder)
    return folder


@pytest.fixture
def brains_there(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bank of brains is made once for all trainings."""
    monkeypatch.setattr(train_model, "sources_folder", lambda _: whole / "sources")


@pytest.fixture
def elsewhere(whole: Path, tmp_path: Path) -> Path:
    """Another machine: it has the brains, and nothing that was trained."""
    shutil.copytree(whole / "sources", tmp_path / "elsewhere" / "sources")
    shutil.copy(whole / "run.json", tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


def train(folder: Path, config: ModelConfig = CONFIG) -> None:
    train_model.train_model(RunFolder(folder), Sources(), config, StopRequest())


def member(folder: Path) -> Path:
    return RunFolder(folder).member("default", 0)


def weights_in(folder: Path) -> Weights:
    bundle = open_bundle(folder)
    return bundle.read_weights(bundle.card.members[0])


def stop_after(events: int, monkeypatch: pytest.MonkeyPatch) -> StopRequest:
    """A request that is made after so many events of a training."""
    stop, real = StopRequest(), train_schedule.watched

    def watched(*arguments: Any) -> Iterator[Any]:
        for number, event in enumerate(real(*arguments), 1):
            if number == events:
                stop.by = "SIGTERM"
            yield event

    monkeypatch.setattr(train_schedule, "watched", watched)
    return stop


def train_and_stop(folder: Path, events: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stopped, match="stopped by SIGTERM; all work is"):
        train_model.train_model(RunFolder(folder), Sources(), CONFIG, stop_after(events, patch))


def test_one_network_is_trained_and_its_average_is_the_member(whole: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (only,) = open_bundle(whole).card.members
    assert (only.card.scheme, only.card.training["patches"], only.card.mirror_axes) == ("default", 10, (0,))
    assert np.isfinite(only.card.training["validation_dice"])
    names = {path.name for path in member(whole).iterdir()}
    assert names == {"epochs.csv", "curves.png", "member.json", "recipe.json", "weights.safetensors", STATE}
    train(whole)
    said = capfd.readouterr().out
    assert "already trained" in said
    assert f"State: {member(whole) / STATE}" in said.replace("\n", "")


@pytest.mark.parametrize("events", [2, 5])  # within the schedule, and before its last validation
def test_stopped_and_called_again_it_comes_to_the_same_weights(
    events: int, whole: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    train_and_stop(elsewhere, events, monkeypatch)
    assert {NEWEST, STATE, "progress.json"} <= {path.name for path in member(elsewhere).iterdir()}
    train(elsewhere)
    assert f"resuming after {2 * events} patches" in capfd.readouterr().out
    found, wanted = weights_in(elsewhere), weights_in(whole)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_a_state_in_a_folder_goes_on_elsewhere(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here, states = tmp_path / "here", tmp_path / "model-state"
    shutil.copytree(elsewhere, here)
    train_and_stop(here, 3, monkeypatch)
    states.mkdir()
    shutil.copy(member(here) / STATE, states)
    train(elsewhere, replace(CONFIG, state=states))
    said = capfd.readouterr().out.replace("\n", "")
    assert f"resuming from {states / STATE}, after 6 patches; the learning rate warms up again" in said
    assert "patch 10/10 (100.0%)" in said
    assert all(np.isfinite(value).all() for value in weights_in(elsewhere).values())
    train(here, replace(CONFIG, state=states))
    assert f"is already further on than {states / STATE}" in capfd.readouterr().out.replace("\n", "")


def test_a_finished_state_is_the_member(whole: Path, elsewhere: Path) -> None:
    train(elsewhere, replace(CONFIG, state=member(whole) / STATE))
    found, wanted = weights_in(elsewhere), weights_in(whole)
    assert max(float(np.abs(found[name] - wanted[name]).max()) for name in wanted) < 1e-3


def test_a_state_on_its_way_can_be_packed_and_tried(
    whole: Path, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_and_stop(elsewhere, 3, monkeypatch)
    for folder, patches in ((elsewhere, 6), (whole, 10)):
        target = tmp_path / "new folder" / f"{patches}.mapping"
        assert main(["models", "pack", str(member(folder) / STATE), "-o", str(target)]) == 0
        (card,) = (one.card for one in open_bundle(target).card.members)
        assert (card.name, card.training["patches"], card.mirror_axes) == ("default, fold 0", patches, (0,))
    (finished,) = open_bundle(whole).card.members
    assert (card.network, card.preprocess, card.patch) == (
        finished.card.network, finished.card.preprocess, finished.card.patch,
    )  # fmt: skip
    found, wanted = weights_in(target), weights_in(whole)
    assert max(float(np.abs(found[name] - wanted[name]).max()) for name in wanted) < 1e-3
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "new folder"}
    assert {path.name for path in target.parent.iterdir()} == {"6.mapping", "10.mapping"}


def test_a_damaged_state_is_not_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / STATE).write_bytes(b"damaged")
    assert main(["models", "pack", str(tmp_path / STATE), "-o", str(tmp_path / "one.mapping")]) == 2
    assert "is damaged, or not the state of a training" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == [STATE]


@pytest.mark.usefixtures("brains_there")
def test_states_of_other_trainings_are_refused(whole: Path, tmp_path: Path) -> None:
    state = member(whole) / STATE
    with pytest.raises(TrainingError, match=r"tiny-default\.state: belongs to a training with other settings \(seed\)"):
        train(tmp_path / "seed", replace(CONFIG, seed=1, state=state))
    with pytest.raises(TrainingError, match=r"other settings \(schedule\)"):
        train(tmp_path / "length", replace(CONFIG, patches=12, state=state))
    with pytest.raises(TrainingError, match=r"holds the state of another network"):
        train(tmp_path / "network", replace(CONFIG, schemes=("residual",), state=state))
    with pytest.raises(TrainingError, match=r"tiny-default\.state: cannot be read"):
        train(tmp_path / "none", replace(CONFIG, state=tmp_path))
    with pytest.raises(RunFolderError, match=r"differs in patches"):
        train(whole, replace(CONFIG, patches=12))


@pytest.mark.slow
def test_a_producer_makes_the_cases(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set[str]()
    real = train_schedule.RingSupply.note

    def note(supply: Any, case_ids: Any, hardness: Any) -> None:
        seen.update(case_ids)
        real(supply, case_ids, hardness)

    monkeypatch.setattr(train_schedule.RingSupply, "note", note)
    train(elsewhere, replace(CONFIG, cases=8))
    assert 2 <= len(seen) <= 10
    assert all(name.startswith("case-000000") for name in seen)
    assert not (elsewhere / "ring").exists()


def test_a_network_goes_on_and_grows_from_a_model_of_one_member(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = SIZES["tiny"]
    plain = replace(tiny.plain, features=tuple(n + 2 for n in tiny.plain.features), unshuffle=2)
    grown = replace(tiny, name="fine", preprocess=PreprocessSpec(3.0), patch=(32, 32, 32), plain=plain)
    monkeypatch.setitem(SIZES, "fine", grown)
    config = ModelConfig("fine", patches=4, from_=str(whole))
    train(tmp_path / "grown", config)
    (only,) = open_bundle(tmp_path / "grown").card.members
    assert only.card.network == plain
    assert only.card.training["started_from"]["scheme"] == "default"
    told = json.loads((member(tmp_path / "grown") / "recipe.json").read_text())["settings"]
    assert told["schedule"]["learning_rate"] == tiny.learning_rate / 2
    assert told["schedule"]["divisors"] == [4, 4, 4]


@pytest.mark.usefixtures("brains_there")
def test_members_in_epochs_start_from_the_one_of_a_schedule(whole: Path, tmp_path: Path) -> None:
    short = replace(SIZES["tiny"], steps_per_epoch=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", short)
        schemes = ("dice-topk10", "self-training")
        train(tmp_path, ModelConfig("tiny", epochs=1, from_=str(whole), schemes=schemes))
    cards = {one.card.scheme: one.card for one in open_bundle(tmp_path).card.members}
    assert {name: card.training["started_from"]["scheme"] for name, card in cards.items()} == dict.fromkeys(
        schemes, "default"
    )


def test_states_of_a_training_in_progress_stay_valid() -> None:
    size, scheme = SIZES["compact"], replace(find_scheme("residual"), augmentation=train_model.AUGMENTATION)
    plan = Plan(scheme, size, 0, 0, (), (), schedule=plan_schedule(150_000, size))
    assert plan.recipe == "755843966a1c335c"  # of the bundled model's first part, without its brains
    assert (train_model.FRESH_CASES, train_model.WARM_CASES) == (8, 9)


CLOCK = replace(CONFIG, patches=0, minutes=1.0, of=2.0, cases=8)
LIST = "tiny-default.pieces.json"


@pytest.fixture
def looked_at_clock(brains_there: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of forty looks at the clock, each of which takes a second; a tiny checkpoint has several pieces."""

    def session(seconds: float, _: float) -> Session:
        return Session(seconds, 40.0, partial(next, count(0.0, 1.0)))

    monkeypatch.setattr(train_model, "Session", session)
    monkeypatch.setattr("mapping_stroke.training.checkpoint.PIECE_BYTES", 2**15)


@pytest.mark.usefixtures("looked_at_clock")
def test_by_the_clock_two_calls_on_two_machines_are_a_training(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    here, carried = tmp_path / "here", tmp_path / "carried"
    train(here, CLOCK)
    said = capfd.readouterr().out.replace("\n", " ")
    assert "minute 1.00/2 (50.0%)" in said
    assert "time is up" in said
    assert not (member(here) / "member.json").exists()
    shutil.copytree(here / "pieces", carried)
    assert {path.name for path in carried.iterdir()} > {STATE, LIST}
    assert all(path.stat().st_size < 2 * 2**15 for path in carried.iterdir())
    there = tmp_path / "there"
    train(there, replace(CLOCK, state=carried))
    said = capfd.readouterr().out.replace("\n", " ")
    assert f"resuming from the pieces in {carried}" in said
    assert "minute 2.00/2 (100.0%)" in said
    (only,) = open_bundle(there).card.members
    assert only.card.training["seconds"] == 120
    assert only.card.training["epochs"] == 6
    home = tmp_path / "home"  # what was carried there is all that is needed
    train(home, replace(CLOCK, state=there / "pieces"))
    found, wanted = weights_in(home), weights_in(there)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.usefixtures("looked_at_clock")
@pytest.mark.parametrize("small", [True, False])
def test_a_lost_piece_is_named_and_the_small_state_goes_on(
    small: bool,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    train(here, CLOCK)
    lost = min((here / "pieces").glob("*.001.piece"))
    lost.unlink()
    capfd.readouterr()
    if small:
        train(there, replace(CLOCK, state=here / "pieces"))
        said = capfd.readouterr()
        assert f"{lost}: a piece of a checkpoint cannot be read" in said.err.replace("\n", "")
        assert "the learning rate warms up again" in said.out.replace("\n", " ")
    else:
        (here / "pieces" / STATE).unlink()
        with pytest.raises(TrainingError, match=r"tiny-default\.state: cannot be read"):
            train(there, replace(CLOCK, state=here / "pieces"))


@pytest.mark.usefixtures("looked_at_clock")
def test_asked_to_stop_by_the_clock_it_leaves_whole_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stopped, match="all work is saved"):
        train_model.train_model(RunFolder(tmp_path), Sources(), CLOCK, stop_after(3, patch))
    told = json.loads((tmp_path / "pieces" / LIST).read_text())
    assert told["patches"] > 0
    assert all((tmp_path / "pieces" / name).is_file() for name in told["pieces"])


def test_a_call_by_the_clock_trains_alone_and_a_later_one_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(make_model, "train_model", lambda *_: calls.append("train"))
    monkeypatch.setattr(make_model, "write_held_out", lambda *_: calls.append("judge") or StopRequest().end())
    made = (RunFolder(tmp_path), Sources(), CLOCK, HeldOutCases(), ModelLabels(), StopRequest())
    assert make_model.make_model(*made) == []
    assert calls == ["train"]
    monkeypatch.setattr(make_model, "has_member", lambda _: True)
    with pytest.raises(Stopped):
        make_model.make_model(*made)
    assert calls == ["train", "train", "judge"]


@pytest.mark.parametrize(("minutes", "cases"), [(2, 4), (10, 12), (20, 24), (60, 24)])
def test_a_short_schedule_by_the_clock_is_watched_with_fewer_cases(
    minutes: int, cases: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_model, "VALIDATION_CASES", 24)
    assert train_model.validation_count(plan_schedule(60 * minutes, SIZES["tiny"], "seconds")) == cases
    assert train_model.validation_count(plan_schedule(10, SIZES["tiny"])) == 24


def test_a_call_whose_time_is_over_is_stopped_while_it_starts() -> None:
    with pytest.raises(Stopped, match="stopped by SIGTERM; finished work is"), listening(), stopping_in(0.0):
        any(threading.Event().wait(0.01) for _ in range(1000))


def test_a_call_that_is_over_in_time_is_not_stopped() -> None:
    with listening() as stop, stopping_in(1000.0):
        pass
    assert stop.by == ""


@pytest.mark.usefixtures("brains_there")
def test_a_larger_batch_is_another_training(tmp_path: Path) -> None:
    train(tmp_path, replace(CONFIG, batch=8))
    told = json.loads((member(tmp_path) / "recipe.json").read_text())["settings"]
    assert (told["size"]["batch"], told["schedule"]["rewarm"]) == (8, 1600)
    assert told["schedule"]["learning_rate"] == 2 * SIZES["tiny"].learning_rate
    with pytest.raises(RunFolderError, match=r"differs in batch"):
        train(tmp_path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ModelConfig(minutes=3, of=2), "got 3 minutes of 2, expected no more than the whole"),
        (lambda: ModelConfig(minutes=3, patches=2), "counted in --patches or in --minutes; leave one out"),
        (lambda: ModelConfig(of=2), "add --patches or --minutes"),
        (lambda: ModelConfig(batch=8), "add --patches or --minutes"),
        (lambda: ModelConfig(minutes=3, schemes=("default", "residual")), "got 2 schemes, but by the clock one"),
        (lambda: ModelConfig(patches=-1), "got -1 patches, 0 minutes, a batch of 0; expected more than 0"),
        (lambda: ModelConfig(state=Path("one.state")), "--state, --of and --batch are for a training on a schedule"),
        (lambda: ModelConfig(patches=10, jobs=2), "leave out --epochs and --jobs"),
        (lambda: ModelConfig(patches=10, schemes=("self-training",)), "a schedule has no pseudo-labels"),
        (lambda: ModelConfig(patches=10, cases=3), "got 3 cases, expected 8 or more"),
        (lambda: ModelConfig(schemes=("default",)), "add --from"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(make: Callable[[], ModelConfig], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()
