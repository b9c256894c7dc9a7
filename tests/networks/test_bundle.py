import contextlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from mapping_stroke.errors import BundleError, MappingError
from mapping_stroke.files import sha256
from mapping_stroke.networks import bundle as module
from mapping_stroke.networks.bundle import Bundle, open_bundle, require_free, write_bundle
from mapping_stroke.networks.cards import BundleCard, BundleMember
from mapping_stroke.networks.spec import Weights
from small_models import (
    PLAIN,
    change_json,
    member_card,
    model_card,
    random_weights,
    weights_of,
    write_model,
    write_trained_member,
    write_trained_run,
)

WEIGHTS = "weights/default_fold_0.safetensors"


@pytest.fixture(params=["model", "model.mapping"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path: Path = tmp_path / request.param
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model").path


def replace_weights(folder: Path, weights: Weights) -> None:
    """Other weights under a card that names their hash."""
    (folder / WEIGHTS).write_bytes(safetensors.numpy.save(weights))
    change_json(folder / "bundle.json", lambda card: card["members"][0].update(weights_sha256=sha256(folder / WEIGHTS)))


def test_a_model_comes_back_as_it_was(target: Path) -> None:
    bundle = write_model(target, average="logit", description="two\nlines", training_data="12 made-up scans")
    written = model_card(average="logit", description="two\nlines", training_data="12 made-up scans")
    assert [member.card for member in bundle.card.members] == [member.card for member in written.members]
    assert [member.weights for member in bundle.card.members] == [WEIGHTS, "weights/residual_fold_1.safetensors"]
    for name in ("name", "average", "postprocess", "description", "training_data", "licence", "citation"):
        assert getattr(bundle.card, name) == getattr(written, name)
    for member in bundle.card.members:
        found, expected = bundle.read_weights(member), weights_of(member)
        assert list(found) == list(expected)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
        assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}


def test_a_zip_packed_twice_has_the_same_bytes(tmp_path: Path) -> None:
    first = write_model(tmp_path / "a.mapping")
    again = write_bundle(tmp_path / "b.mapping", first.card, first.read_weights)
    assert first.path.read_bytes() == again.read_bytes()


def test_folder_zip_and_run_of_the_same_networks_have_one_hash(tmp_path: Path) -> None:
    run = open_bundle(write_trained_run(tmp_path / "run"))
    folder = open_bundle(write_bundle(tmp_path / "a", run.card, run.read_weights))
    archive = open_bundle(write_bundle(tmp_path / "b.mapping", run.card, run.read_weights))
    assert run.sha256 == folder.sha256 == archive.sha256


@pytest.mark.parametrize(
    "changes",
    [
        {"average": "logit"},
        {"postprocess": None},
        {"members": model_card(member_card()).members},
        {"space": "MNI152"},
        {"shows": "brain"},
    ],
)
def test_what_decides_a_result_changes_the_hash(changes: dict[str, Any], tmp_path: Path) -> None:
    members = changes.pop("members", model_card().members)
    other = write_model(tmp_path / "b", *(member.card for member in members), **changes)
    assert write_model(tmp_path / "a").sha256 != other.sha256


def test_what_is_told_about_a_model_does_not_change_its_hash(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "a", member_card())
    told = write_model(tmp_path / "b", member_card(training={}), name="other", licence="none", description="!")
    assert plain.sha256 == told.sha256


def test_the_weights_lie_uncompressed_in_the_zip(tmp_path: Path) -> None:
    bundle = write_model(tmp_path / "a.mapping", member_card())
    folder = write_model(tmp_path / "b", member_card())
    assert (folder.path / WEIGHTS).read_bytes() in bundle.path.read_bytes()


def test_reading_a_zip_writes_nothing(tmp_path: Path) -> None:
    bundle = write_model(tmp_path / "a.mapping")
    for member in bundle.card.members:
        bundle.read_weights(member)
    assert [path.name for path in tmp_path.rglob("*")] == ["a.mapping"]


def test_reading_a_model_loads_no_torch(tmp_path: Path) -> None:
    write_model(tmp_path / "a.mapping")
    program = (
        "import sys\nfrom mapping_stroke.networks.bundle import open_bundle\n"
        "bundle = open_bundle(sys.argv[1])\nbundle.read_weights(bundle.card.members[0])\n"
        "assert 'torch' not in sys.modules\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "a.mapping")]
    assert subprocess.run(arguments, capture_output=True, text=True, check=False).stderr == ""


def test_a_run_folder_is_a_model(tmp_path: Path) -> None:
    run = write_trained_run(tmp_path / "run")
    bundle = open_bundle(run)
    assert (bundle.card.name, bundle.card.average, bundle.card.postprocess) == ("run", "probability", None)
    assert [member.card.name for member in bundle.card.members] == ["default, fold 0", "residual, fold 1"]
    assert bundle.card.members[0].weights == "train/default/fold_0/weights.safetensors"
    for member in bundle.card.members:
        assert bundle.read_weights(member).keys() == weights_of(member).keys()


@pytest.mark.parametrize("inside", [".", "collection/deep"])
def test_a_member_folder_and_any_folder_above_it_are_models(inside: str, tmp_path: Path) -> None:
    write_trained_member(tmp_path / "one" / inside / "member", member_card())
    assert len(open_bundle(tmp_path / "one").card.members) == 1
    assert len(open_bundle(tmp_path / "one" / inside / "member").card.members) == 1


def test_the_models_of_the_installation_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUNDLED", tmp_path)
    with pytest.raises(BundleError, match=r"default\.mapping: is missing, so this installation has no bundled model"):
        open_bundle("default")
    write_model(tmp_path / "default.mapping", name="bundled")
    assert open_bundle("default").card.name == "bundled"
    assert module.bundled_models() == [tmp_path / "default.mapping"]


def test_a_folder_that_is_named_like_a_model_of_the_installation_is_asked_for_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUNDLED", tmp_path / "models")
    write_model(tmp_path / "models" / "default.mapping", name="bundled")
    run = write_trained_run(tmp_path / "run")
    monkeypatch.chdir(run / "train")
    assert open_bundle("default").card.name == "bundled"
    for model in ("./default", Path("default"), run / "train" / "default"):
        assert [member.card.name for member in open_bundle(model).card.members] == ["default, fold 0"]


# Refusals: the card


def drop(*names: str) -> Callable[[Any], object]:
    return lambda card: [card.pop(name) for name in names]


def put(place: str, value: object) -> Callable[[Any], None]:
    """Change one entry, such as `members.0.fold`."""

    def change(card: Any) -> None:
        *path, last = place.split(".")
        for step in path:
            card = card[int(step) if step.isdecimal() else step]
        card[int(last) if last.isdecimal() else last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("format", 2), r"has format version 2, this version reads 1; update mapping-stroke"),
        (put("format", "1"), r"has format version '1', this version reads 1"),
        (put("format", True), r"has format version True"),
        (drop("format"), r"has no entry 'format'"),
        (drop("name"), r"card has no entry 'name'"),
        (drop("members"), r"members is None, expected a list"),
        (put("members", []), r"has 0 members, expected 1 to"),
        (put("members.1", 7), r"members\[1\] is 7, expected an object"),
        (put("colour", "red"), r"card has an unknown entry 'colour', expected name"),
        (put("average", "median"), r"card.average is 'median', expected 'probability' or 'logit'"),
        (put("name", " "), r"' ' is not a valid name of a model"),
        (put("name", "a\nb"), r"is not a valid name of a model"),
        (put("licence", "\x1b[2J"), r"card.licence is .*expected printable text"),
        (put("members.0.fold", "0"), r"card.members\[0\].card.fold is '0', expected a whole number"),
        (put("members.0.fold", -1), r"default: its fold is -1, expected 0 to 9999"),
        (put("members.0.fold", True), r"fold is True, expected a whole number"),
        (put("members.0.scheme", "../up"), r"'../up' is not a valid name of a scheme"),
        (put("members.0.patch", [8, 8]), r"patch is \[8, 8\], expected 3 entries"),
        (put("members.0.patch", [9, 8, 8]), r"patch \(9, 8, 8\) is not a multiple of"),
        (put("members.0.mirror_axes", [0, 3]), r"mirror_axes is \(0, 3\), expected some of 0, 1 and 2"),
        (put("members.0.mirror_axes", [1, 1]), r"mirror_axes is \(1, 1\), expected some of 0, 1 and 2, each once"),
        (put("members.0.patch", [0, 8, 8]), r"patch is \(0, 8, 8\), expected 1 to 1024"),
        (put("members.0.network.features", [1.5, 2]), r"network.features\[0\] is 1.5, expected a whole number"),
        (put("members.0.network.features", 3), r"network.features is 3, expected a list"),
        (put("members.0.network.encoder", "dense"), r"network.encoder is 'dense', expected 'plain' or 'residual'"),
        (put("members.0.network.depths", [1, 10**9]), r"its network is impossibly large"),
        (put("members.0.network.features", [10**6, 10**6]), r"its network is impossibly large"),
        (put("members.0.network.depths", [1]), r"needs one depth per stage"),
        (put("members.0.preprocess.spacing_mm", "1"), r"spacing_mm is '1', expected"),
        (put("members.0.preprocess.spacing_mm", 1e999), r"Infinity is not a number"),
        (put("members.0.preprocess.orientation", "UP!"), r"orientation is 'UP!'"),
        (put("members.0.weights_sha256", "12"), r"weights_sha256 is not a SHA-256"),
        (put("members.0.weights", "/etc/passwd"), r"'/etc/passwd' would lie outside the model"),
        (put("members.0.weights", "../a.safetensors"), r"would lie outside the model"),
        (put("members.0.weights", "C:/a.safetensors"), r"would lie outside the model"),
        (put("members.0.weights", "a\\..\\b"), r"would lie outside the model"),
        (put("members.0.weights", ""), r"a member has no entry 'weights'"),
        (put("members.0.weights_sha256", None), r"a member has no entry 'weights_sha256'"),
        (lambda card: card["members"].append(card["members"][0]), r"has two members default, fold 0"),
        (put("members.1.weights", WEIGHTS), r"has two members with the weights " + WEIGHTS),
        (put("postprocess.small.core", 2), r"thresholds need 0 < edge <= core < 1"),
        (put("postprocess.manner", "guess"), r"postprocess.manner is 'guess', expected 'drop' or 'grow'"),
    ],
)
def test_a_card_that_cannot_be_used_is_refused_by_name(
    change: Callable[[Any], object], message: str, folder: Path
) -> None:
    change_json(folder / "bundle.json", change)
    with pytest.raises(BundleError, match=rf"model: bundle\.json: .*{message}"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is damaged"),
        (b"[]", "has no entry 'format'"),
        (b"\xff\xfe", "is damaged"),
        (b'{"format": 1, "format": 1}', "'format' occurs twice"),
        (b'{"format": NaN}', "NaN is not a number"),
        (b"[" * 100_000, "is damaged"),
        (b'{"format": ' + b"1" * 5000 + b"}", "is damaged"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else "",
)
def test_a_card_that_is_no_json_is_refused(text: bytes, message: str, folder: Path) -> None:
    (folder / "bundle.json").write_bytes(text)
    with pytest.raises(BundleError, match=rf"bundle\.json: .*{message}"):
        open_bundle(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(deeper for name, entry in entries for deeper in places(entry, (*place, name)))]


@given(st.data())
def test_whatever_a_card_says_only_a_bundle_error_leaves(data: st.DataObject) -> None:
    card: Any = json.loads(json.dumps(model_card().to_json()))
    for member in card["members"]:
        member["weights_sha256"] = "0" * 64
    place = data.draw(st.sampled_from(places(card)))
    value = data.draw(JSON)
    if place:
        parent = card
        for step in place[:-1]:
            parent = parent[step]
        parent[place[-1]] = value
    else:
        card = value
    with contextlib.suppress(BundleError):
        BundleCard.from_bytes(json.dumps(card).encode())


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_whatever_bytes_a_card_has_only_a_bundle_error_leaves(text: bytes) -> None:
    with pytest.raises(BundleError):
        BundleCard.from_bytes(text)


# Refusals: the weights


def test_a_missing_weight_file_is_refused(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match=rf"{WEIGHTS}: missing; copy or download it again"):
        bundle.read_weights(bundle.card.members[0])


def test_a_wrong_hash_is_refused(folder: Path) -> None:
    change_json(folder / "bundle.json", put("members.0.weights_sha256", "0" * 64))
    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match=rf"{WEIGHTS}: its SHA-256 differs from the card's"):
        bundle.read_weights(bundle.card.members[0])


@pytest.fixture(scope="module", params=["model", "model.mapping"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model that is damaged and mended again by one example after the other."""
    return write_model(tmp_path_factory.mktemp("flip") / request.param, member_card())


@given(place=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_flipped_byte_in_the_weights_is_refused_and_in_a_zip_is_refused_or_changes_nothing(
    place: int, flip: int, whole: Bundle
) -> None:
    path = whole.path / WEIGHTS if whole.path.is_dir() else whole.path
    good = path.read_bytes()
    content = bytearray(good)
    content[place % len(content)] ^= flip
    path.write_bytes(content)
    try:
        bundle = open_bundle(whole.path)
        weights = bundle.read_weights(bundle.card.members[0])
    except BundleError:
        return
    finally:
        path.write_bytes(good)
    assert not whole.path.is_dir()
    assert bundle.card == whole.card
    assert all(np.array_equal(weights[name], value) for name, value in random_weights(PLAIN).items())


def test_surplus_weights_are_refused_by_name(folder: Path) -> None:
    replace_weights(folder, random_weights(PLAIN) | {"evil": np.zeros(1, np.float32)})
    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match=r"does not fit its network \(surplus parameter 'evil'\)"):
        bundle.read_weights(bundle.card.members[0])


def test_missing_weights_are_refused_by_name(folder: Path) -> None:
    weights = random_weights(PLAIN)
    del weights["decoder.transpconvs.0.weight"]
    replace_weights(folder, weights)
    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match=r"parameter decoder\.transpconvs\.0\.weight is missing"):
        bundle.read_weights(bundle.card.members[0])


def test_ill_shaped_weights_are_refused_by_name(folder: Path) -> None:
    replace_weights(folder, random_weights(PLAIN) | {"decoder.seg_layers.0.bias": np.zeros(3, np.float32)})
    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match=r"decoder\.seg_layers\.0\.bias has shape \(3,\), expected \(2,\)"):
        bundle.read_weights(bundle.card.members[0])


@pytest.mark.parametrize(("dtype", "name"), [(np.float64, "F64"), (np.int32, "I32")])
def test_weights_other_than_floats_of_16_or_32_bits_are_refused_by_name(dtype: type, name: str, folder: Path) -> None:
    replace_weights(folder, random_weights(PLAIN) | {"decoder.seg_layers.0.bias": np.zeros(2, dtype)})
    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match=rf"seg_layers\.0\.bias has type {name}, expected float32"):
        bundle.read_weights(bundle.card.members[0])


def test_weights_stored_in_half_the_bytes_are_read_as_float32(target: Path) -> None:
    def halved(_: BundleMember) -> Weights:
        return {name: value.astype(np.float16) for name, value in random_weights(PLAIN).items()}

    bundle = open_bundle(write_bundle(target, model_card(member_card()), halved))
    member = bundle.card.members[0]
    read = bundle.read_weights(member)
    assert bundle.find_problems(member) == []
    for name, value in random_weights(PLAIN).items():
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], value.astype(np.float16))
    again = open_bundle(write_bundle(target.with_name(f"again-{target.name}"), bundle.card, bundle.read_stored))
    assert again.card.members[0].weights_sha256 == member.weights_sha256


def test_a_page_for_people_is_kept_and_decides_nothing(target: Path) -> None:
    plain = open_bundle(write_bundle(target, model_card(), weights_of))
    assert plain.read_page() == ""
    other = target.with_name(f"other-{target.name}")
    paged = open_bundle(write_bundle(other, plain.card, plain.read_stored, page="# Card\n\nµ\n"))
    assert paged.read_page() == "# Card\n\nµ\n"
    assert paged.sha256 == plain.sha256
    require_free(other, overwrite=True)


def test_a_page_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "card.md").write_bytes(b"\xff\xfe")
    with pytest.raises(BundleError, match=r"card\.md is not UTF-8 text"):
        open_bundle(folder).read_page()


def test_weights_too_large_for_half_the_bytes_are_not_written(target: Path) -> None:
    def weights(_: BundleMember) -> Weights:
        with np.errstate(over="ignore"):
            return {name: (value + 1e6).astype(np.float16) for name, value in random_weights(PLAIN).items()}

    with pytest.raises(BundleError, match="holds NaN or infinity"):
        write_bundle(target, model_card(member_card()), weights)


def test_weights_that_are_a_pickle_are_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    pickled = b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR."
    (folder / WEIGHTS).write_bytes(pickled)
    change_json(folder / "bundle.json", put("members.0.weights_sha256", sha256(folder / WEIGHTS)))
    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match=rf"{WEIGHTS}: cannot be read"):
        bundle.read_weights(bundle.card.members[0])
    assert not (tmp_path / "owned").exists()


def test_weights_far_larger_than_their_network_are_refused_before_they_are_read(target: Path) -> None:
    bundle = write_model(target, member_card())
    big = bytes(3_000_000)
    if target.is_dir():
        (target / WEIGHTS).write_bytes(big)
    else:
        text = zipfile.ZipFile(target).read("bundle.json")
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("bundle.json", text)
            archive.writestr(WEIGHTS, big)
    with pytest.raises(BundleError, match=r"has 3,000,000 bytes, expected at most 1,04"):
        bundle.read_weights(bundle.card.members[0])


# Refusals: what is no model


def test_a_path_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere: no such model; give a \.mapping file"):
        open_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="holds no trained member; give a"):
        open_bundle(tmp_path)


def test_two_runs_in_one_folder_are_refused_where_their_members_clash(tmp_path: Path) -> None:
    write_trained_run(tmp_path / "both" / "a")
    write_trained_run(tmp_path / "both" / "b")
    with pytest.raises(BundleError, match=r"both: .*has two members default, fold 0"):
        open_bundle(tmp_path / "both")


# Writing


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_written(broken: float, target: Path) -> None:
    def weights(member: BundleMember) -> Weights:
        return random_weights(PLAIN) | {"decoder.seg_layers.0.bias": np.float32([0, broken])}

    with pytest.raises(BundleError, match=r"default, fold 0: parameter 'decoder\.seg_layers\.0\.bias' holds NaN"):
        write_bundle(target, model_card(member_card()), weights)
    assert list(target.parent.iterdir()) == []


def test_weights_of_another_type_are_not_written(target: Path) -> None:
    def weights(member: BundleMember) -> Weights:
        return {name: value.astype(np.float64) for name, value in random_weights(PLAIN).items()}

    with pytest.raises(BundleError, match=r"default, fold 0: .* has type float64, expected float32"):
        write_bundle(target, model_card(member_card()), weights)


def test_a_model_is_written_whole_or_not_at_all(target: Path) -> None:
    def weights(member: BundleMember) -> Weights:
        if member.card.fold == 1:
            raise BundleError("the second is broken")
        return weights_of(member)

    with pytest.raises(BundleError, match="the second is broken"):
        write_bundle(target, model_card(), weights)
    assert list(target.parent.iterdir()) == []


def test_nan_in_the_provenance_becomes_null(target: Path) -> None:
    bundle = write_model(target, member_card(training={"validation_dice": float("nan"), "of": [float("inf")]}))
    assert bundle.card.members[0].card.training == {"validation_dice": None, "of": [None]}


def test_a_model_is_replaced_only_when_asked(target: Path) -> None:
    write_model(target)
    with pytest.raises(BundleError, match=r"exists already; give another name, or --overwrite"):
        write_model(target)
    write_bundle(target, model_card(member_card(), name="new"), weights_of, overwrite=True)
    assert open_bundle(target).card.name == "new"
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    if target.is_dir():
        assert [path.name for path in (target / "weights").iterdir()] == ["default_fold_0.safetensors"]


def test_an_empty_folder_may_become_a_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert len(write_model(tmp_path / "model").card.members) == 2


def test_a_model_can_be_packed_over_itself(target: Path) -> None:
    bundle = write_model(target)
    before = bundle.sha256
    write_bundle(target, bundle.card, bundle.read_weights, overwrite=True)
    assert open_bundle(target).sha256 == before


def test_what_is_no_model_is_never_replaced(target: Path) -> None:
    if target.suffix:
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine.txt").touch()
    with pytest.raises(BundleError, match="is not a model, so it is not replaced"):
        write_bundle(target, model_card(), weights_of, overwrite=True)


def test_a_model_folder_that_holds_other_files_is_not_replaced(folder: Path) -> None:
    (folder / "notes.txt").touch()
    with pytest.raises(BundleError, match=r"holds notes\.txt, which is not part of a model"):
        write_bundle(folder, model_card(), weights_of, overwrite=True)


def test_a_disk_without_room_is_told_before_anything_is_written(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(MappingError, match="has room for 0 MB"):
        write_model(target)
    assert list(target.parent.iterdir()) == []


def test_mirroring_along_fewer_axes_makes_another_model_and_along_all_the_same_as_ever(folder: Path) -> None:
    whole = json.loads((folder / "bundle.json").read_text())
    before = open_bundle(folder).sha256
    for member in whole["members"]:
        del member["mirror_axes"], member["network"]["unshuffle"]  # as cards were before they told them
    (folder / "bundle.json").write_text(json.dumps(whole))
    assert open_bundle(folder).sha256 == before
    whole["members"][0]["mirror_axes"] = [0]
    (folder / "bundle.json").write_text(json.dumps(whole))
    assert open_bundle(folder).sha256 != before
