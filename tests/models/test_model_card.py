"""`mapping models card`: what is filled in, what is kept in the model, and what is refused."""

import shutil
from pathlib import Path

import pytest

from mapping_stroke.cli import main
from mapping_stroke.images.image import write_image
from mapping_stroke.models.describe import model_blocks
from mapping_stroke.networks.bundle import Bundle, bundled_models, open_bundle
from phantoms import AFFINE, phantom, write_phantoms
from small_models import member_card, model_card, write_seeing_model

TEXT = Path(__file__).parents[2] / "docs" / "model-card.in.md"
ABOUT = "# {{name}}, {{ licence }}\n\n{{ loads }}\n\n{{ false_positives }}\n\n{{ failures }}\n"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and its evaluation, made once for all tests here."""
    folder = tmp_path_factory.mktemp("card")
    write_seeing_model(folder / "m.mapping", training_data="two\nphantoms")
    write_phantoms(folder / "cohort", labelled=2, unlabelled=0)
    voxels, lesion = phantom(0)
    voxels[lesion] = 100
    write_image(folder / "head_T1w.nii.gz", voxels, AFFINE)
    given = [folder / "m.mapping", "--cohort", folder / "cohort", "--heads", folder / "head_T1w.nii.gz"]
    assert main(["models", "evaluate", *map(str, given), "-o", str(folder / "out"), "--device", "cpu"]) == 0
    return folder


@pytest.fixture
def data(evaluated: Path, tmp_path: Path) -> Path:
    shutil.copytree(evaluated, tmp_path / "data")
    return tmp_path / "data"


def card(data: Path, *more: object, model: str = "m.mapping") -> int:
    given = [data / model, "--evaluation", data / "out", "-o", data / "docs" / "card.md", *more]
    return main(["models", "card", *map(str, given)])


def test_without_a_text_the_card_says_what_is_known(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert card(data) == 0
    page = (data / "docs" / "card.md").read_text()
    assert "{{" not in page
    assert page.startswith("# Model card: small\n\nnot stated\n")
    assert f"- SHA-256: `{open_bundle(data / 'm.mapping').sha256}`" in page
    assert "Trained on: two phantoms\n" in page
    assert "| default | 1 | plain, 2 stages, " in page
    assert "| 0.625 | 8 | nothing |" in page
    assert "\n| 1 to 5 mL | 2 | 1.000 |" in page
    assert "\n| whole heads | 1 | " in page
    assert "\n1. Lowest Dice, 1 mL and more: p0, 3.4 mL of lesions; Dice 1.00, " in page
    assert "![Where the model fails](card-failures.jpg)" in page
    assert (data / "docs" / "card-failures.jpg").stat().st_size > 5000
    assert capsys.readouterr().out.splitlines()[-1] == f"Model card: {data / 'docs' / 'card-failures.jpg'}"


def test_the_text_of_the_bundled_model_asks_for_nothing_that_there_is_not(data: Path) -> None:
    assert card(data, "--about", TEXT) == 0
    assert "{{" not in (data / "docs" / "card.md").read_text()


@pytest.mark.skipif(not bundled_models(), reason="this checkout has no bundled model")
def test_the_page_in_the_documentation_is_that_of_the_bundled_model() -> None:
    bundle = open_bundle("default")
    page = TEXT.with_name("model-card.md").read_text(encoding="utf-8")
    assert f"`{bundle.sha256}`" in page
    assert set(bundle.read_page().splitlines()) <= set(page.splitlines())
    assert bundle.read_page()


def test_it_tells_what_members_were_simulated_from_and_began_with() -> None:
    simulation = {"brains": 3, "people": [["a", "b"], ["c"]], "masks": 1, "kept_cases": 40}
    trained = {"epochs": 2, "simulation": simulation}
    begun, tuned = (
        {**trained, "started_from": {"model": model, "scheme": "default", "fold": 0, "licence": ""}}
        for model in ("fold_0", "MAPPING")
    )
    trainings = enumerate((trained, begun, tuned))
    card = model_card(*(member_card(fold=fold, training=training) for fold, training in trainings))
    blocks = model_blocks(Bundle(Path("m"), card))
    assert blocks["simulation"] == "3 scans of 2 people, 1 lesion mask; 40 simulated cases, drawn once"
    assert [line.split(" | ")[-2:] for line in blocks["members"].splitlines()[2:]] == [
        ["2", "nothing |"],
        ["2", "default |"],
        ["2", "default of MAPPING |"],
    ]
    alone = model_card(member_card(training={"simulation": {"brains": 0, "people": None, "masks": 0}}))
    told = model_blocks(Bundle(Path("m"), alone))["simulation"]
    assert told == "the template, 0 lesion masks; a new simulated case for every patch"


def test_a_card_kept_in_the_model_is_shown_and_changes_nothing_else(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "about.md").write_text(ABOUT)
    before = open_bundle(data / "m.mapping")
    assert card(data, "--about", data / "about.md", "--embed") == 0
    after = open_bundle(data / "m.mapping")
    assert (after.sha256, after.card) == (before.sha256, before.card)
    page = (data / "docs" / "card.md").read_text()
    assert page.startswith("# small, CC0-1.0\n\n| Load | Cases |")
    assert "![" not in after.read_page()
    assert set(after.read_page().splitlines()) < set(page.splitlines())
    assert card(data, "--about", data / "about.md", "--embed") == 0
    assert open_bundle(data / "m.mapping").read_page() == after.read_page()
    capsys.readouterr()
    assert main(["models", "show", str(data / "m.mapping"), "--card"]) == 0
    assert capsys.readouterr().out == after.read_page()
    assert main(["models", "show", str(data / "m.mapping")]) == 0
    assert "Model card: in the model" in capsys.readouterr().out


def test_what_makes_no_card_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_seeing_model(data / "three.mapping", folds=3)
    assert card(data, model="three.mapping") == 2
    assert "belongs to another model" in capsys.readouterr().err
    (data / "about.md").write_text("{{ dice }}")
    assert card(data, "--about", data / "about.md") == 2
    assert "about.md: has the unknown placeholder {{ dice }}; expected some of name, " in capsys.readouterr().err
    assert card(data, "--about", data / "none.md") == 2
    assert "none.md: cannot be read" in capsys.readouterr().err
    assert main(["models", "show", str(data / "m.mapping"), "--card"]) == 2
    assert "holds no model card" in capsys.readouterr().err
    (data / "out" / "evaluation.json").write_text("{}")
    assert card(data) == 2
    assert "was written by another version" in capsys.readouterr().err
    (data / "out" / "evaluation.json").unlink()
    assert card(data) == 2
    assert "evaluation.json: no such file" in capsys.readouterr().err
    assert not (data / "docs").exists()
