"""Volumes by region of the user's atlas: in stamps, tables and pages, before and after a correction."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapping_stroke as ms
from bids_data import NAMES, PLACED, contents, write_atlas, write_bids
from mapping_stroke.cli import main
from mapping_stroke.cohort.bids import BidsLayout
from mapping_stroke.cohort.results import FlatLayout
from mapping_stroke.cohort.review import save_edit
from mapping_stroke.cohort.settings import RegionOptions, ScanOptions
from mapping_stroke.commands.segment import Segment
from mapping_stroke.images.image import write_image
from mapping_stroke.workflow.execution import as_options
from phantoms import phantom
from small_models import write_seeing_model

pytestmark = pytest.mark.usefixtures("coarse_pictures")
VOXEL_ML = 0.027


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeing_model(tmp_path_factory.mktemp("model") / "seeing.mapping").path


def planes(number: int = 0) -> np.ndarray:
    """The five sagittal planes of a phantom's lesion, of 25 voxels each."""
    return np.flatnonzero(phantom(number)[1].any(axis=(1, 2)))


def write_planes(folder: Path, rows: str = "1\tput<amen>\n2\tinsula\n3\tpons\n4\tinsula\n") -> list[str]:
    """An atlas on the grid of the first phantom: its lesion has two planes in region 1, one in 2, and two in none.

    Returns:
        The options that name it.
    """
    labels = np.zeros(phantom(0)[0].shape, np.uint8)
    first = planes()[0]
    labels[first : first + 2], labels[first + 2], labels[0] = 1, 2, 3
    write_image(folder / "planes.nii.gz", labels, PLACED)
    (folder / "planes.tsv").write_text(f"index\tname\n{rows}")
    return ["--atlas", str(folder / "planes.nii.gz"), "--atlas-labels", str(folder / "planes.tsv")]


def write_scans(folder: Path, count: int) -> Path:
    for number in range(count):
        write_image(folder / f"p{number}.nii.gz", phantom(number)[0], PLACED)
    return folder


def segment(model: Path, scans: Path, out: Path, *arguments: str, space: str = "mni") -> int:
    call = ["segment", str(scans), "-o", str(out), "--model", str(model), "--device", "cpu", "--space", space]
    return main([*call, *arguments])


def bids(model: Path, raw: Path, out: Path, level: str, *arguments: str) -> int:
    settings = ["--model", str(model), "--device", "cpu", "--space", "mni"] if level == "participant" else []
    return main(["bids", str(raw), str(out), level, *settings, *arguments])


def stamp(path: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(path.read_text())
    return stored


def rows(table: Path) -> dict[str, dict[str, str]]:
    with table.open(newline="") as file:
        listed = list(csv.DictReader(file, delimiter="\t"))
    return {row["scan"].rsplit("/", 1)[-1].removesuffix(".nii.gz"): row for row in listed}


def regions_of(row: dict[str, str], *names: str) -> dict[str, float]:
    return {name: float(row[f"{name}_ml"]) for name in names}


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def test_a_lesion_of_five_planes_by_hand(model: Path, tmp_path: Path) -> None:
    atlas, out = write_planes(tmp_path), tmp_path / "out"
    assert segment(model, write_scans(tmp_path / "scans", 2), out, *atlas) == 0
    measured = stamp(out / "p0.json")["regions"]
    assert measured["volumes_ml"] == {
        "put<amen>": pytest.approx(50 * VOXEL_ML),
        "insula": pytest.approx(25 * VOXEL_ML),
        "pons": 0,
        "elsewhere": pytest.approx(50 * VOXEL_ML),
    }
    assert list(measured["volumes_ml"]) == ["put<amen>", "insula", "pons", "elsewhere"]
    assert measured["lesions"] == ["put<amen>"]
    assert (measured["atlas"], measured["atlas_labels"]) == (atlas[1], atlas[3])
    page = (out / "p0.html").read_text("utf-8")
    shown = text_of(page.partition("<h2>Volume by region</h2>")[2].partition("</div>\n<h2>")[0])
    assert shown.startswith(
        " Region Volume Of all lesions put&lt;amen&gt; 1.4 mL 40.0 % insula 0.68 mL 20.0 % "
        "1 region without lesion. 1.4 mL (40.0 %) in no region of the atlas. Regions of planes.nii.gz"
    )
    assert "<td>put&lt;amen&gt;</td>" in page.partition("Mainly in")[2].partition("</table>")[0]
    table = rows(out / "cohort_lesions.tsv")["p0"]
    assert regions_of(table, *measured["volumes_ml"]) == measured["volumes_ml"]
    assert list(table)[-4:] == ["put<amen>_ml", "insula_ml", "pons_ml", "elsewhere_ml"]
    described = stamp(out / "cohort_lesions.json")["insula_ml"]
    assert described == {"Description": "Volume in insula of the atlas.", "Units": "mL"}


def test_the_volumes_are_those_of_the_group_with_the_same_atlas(model: Path, tmp_path: Path) -> None:
    raw, out = write_bids(tmp_path / "raw"), tmp_path / "out"
    image, table = write_atlas(tmp_path)
    atlas = ["--atlas", str(image), "--atlas-labels", str(table)]
    assert bids(model, raw, out, "participant", *atlas) == 0
    assert bids(model, raw, out, "group") == 0
    recorded = (out / "group_lesions.tsv").read_bytes()
    assert bids(model, raw, out, "group", *atlas) == 0  # measures every mask anew
    assert (out / "group_lesions.tsv").read_bytes() == recorded
    names = ("left back", "right back", "front", "elsewhere")
    for name, row in rows(out / "group_lesions.tsv").items():
        assert regions_of(row, *names) == stamp(out / "logs" / f"{name}.json")["regions"]["volumes_ml"]
        assert sum(regions_of(row, *names).values()) == pytest.approx(125 * VOXEL_ML)


def test_the_same_command_gives_the_same_bytes_and_leaving_the_atlas_out_keeps_its_regions(
    model: Path, tmp_path: Path
) -> None:
    atlas, scans, out = write_planes(tmp_path), write_scans(tmp_path / "scans", 2), tmp_path / "out"
    assert segment(model, scans, out, *atlas) == 0
    assert segment(model, scans, tmp_path / "again", *atlas) == 0
    assert contents(out) == contents(tmp_path / "again")
    before, times = contents(out), {path: path.stat().st_mtime_ns for path in out.glob("p*")}
    assert segment(model, scans, out, *atlas) == 0
    assert segment(model, scans, out) == 0
    assert contents(out) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    (tmp_path / "planes.tsv").write_text("index\tname\n1\tcaudate\n2\tinsula\n")
    assert segment(model, scans / "p0.nii.gz", out, *atlas) == 0
    table = rows(out / "cohort_lesions.tsv")
    assert [column for column in table["p0"] if column.endswith("_ml")][-5:] == [
        *("caudate_ml", "insula_ml", "put<amen>_ml", "pons_ml", "elsewhere_ml")
    ]
    assert (table["p0"]["put<amen>_ml"], table["p1"]["caudate_ml"]) == ("n/a", "n/a")
    assert float(table["p0"]["caudate_ml"]) == pytest.approx(50 * VOXEL_ML)


def test_without_an_atlas_nothing_is_said_of_regions(model: Path, tmp_path: Path) -> None:
    assert segment(model, write_scans(tmp_path / "scans", 2), tmp_path / "out") == 0
    for path in (tmp_path / "out").glob("*.*"):
        if path.suffix in (".json", ".tsv", ".html"):
            assert not re.search("elsewhere|by region|Mainly in", path.read_text("utf-8").partition("niivue")[0]), path


def test_an_unknown_place_leaves_the_volumes_empty_and_says_so(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert segment(model, write_scans(tmp_path / "scans", 2), out, *write_planes(tmp_path), space="auto") == 0
    measured = stamp(out / "p0.json")["regions"]
    assert set(measured["volumes_ml"].values()) == {None}
    assert measured["lesions"] == []
    page = (out / "p0.html").read_text("utf-8")
    assert "Unknown, because the place of this scan in MNI152 space is not known" in page
    assert "Mainly in" not in page
    assert rows(out / "cohort_lesions.tsv")["p1"]["insula_ml"] == "n/a"


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("1\tload\n", r"regions named like columns of the table \(load_ml\); rename them"),
        ("1\ta\n1\tb\n", "number 1 has two names"),
        (None, "no such file; name the table of the atlas's regions"),
    ],
)
def test_a_bad_atlas_is_refused_before_any_scan(
    table: str | None, complaint: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atlas, scans, raw = write_planes(tmp_path, table or ""), write_scans(tmp_path / "scans", 1), tmp_path / "raw"
    write_bids(raw)
    if table is None:
        (tmp_path / "planes.tsv").unlink()
    for call in (
        lambda: segment(model, scans, tmp_path / "out", *atlas),
        lambda: segment(model, scans, tmp_path / "out", *atlas, "--profile", "local"),
        lambda: bids(model, raw, tmp_path / "out", "participant", *atlas),
        lambda: bids(model, raw, tmp_path / "out", "participant", *atlas, "--profile", "local"),
    ):
        assert call() == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.search(complaint, line)
    assert not list(tmp_path.glob("out*"))


def test_an_atlas_without_its_table_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atlas = write_planes(tmp_path)[:2]
    assert segment(model, write_scans(tmp_path / "scans", 1), tmp_path / "out", *atlas) == 2
    assert "--atlas and --atlas-labels belong together; give both or neither" in capsys.readouterr().err


def test_jobs_are_given_the_atlas(tmp_path: Path) -> None:
    regions = RegionOptions(tmp_path / "a.nii.gz", tmp_path / "a.tsv")
    default = Segment((tmp_path,), tmp_path)
    given = as_options(Segment((tmp_path,), tmp_path, scan=ScanOptions(regions=regions)), default)
    assert given == ["--atlas", str(tmp_path / "a.nii.gz"), "--atlas-labels", str(tmp_path / "a.tsv")]


def first_plane() -> np.ndarray:
    """The part of the first phantom's lesion in its first sagittal plane."""
    part = phantom(0)[1].copy()
    part[planes()[1] :] = False
    return part


def test_sides_and_regions_follow_a_corrected_mask(model: Path, tmp_path: Path) -> None:
    atlas, scans, out = write_planes(tmp_path), write_scans(tmp_path / "scans", 2), tmp_path / "out"
    assert segment(model, scans, out, *atlas, "--no-picture") == 0
    before = rows(out / "cohort_lesions.tsv")
    save_edit(FlatLayout(out), "p0", first_plane(), 0)
    assert segment(model, scans, out, *atlas, "--no-picture") == 0
    after = rows(out / "cohort_lesions.tsv")
    assert after["p1"] == before["p1"]
    edited = after["p0"]
    whole = {"put<amen>": pytest.approx(25 * VOXEL_ML), "insula": 0, "pons": 0, "elsewhere": 0}
    assert regions_of(edited, *whole) == whole
    assert float(edited["left_ml"]) + float(edited["right_ml"]) == float(edited["edited_ml"])
    assert edited["load_ml"] == before["p0"]["load_ml"]
    (tmp_path / "planes.tsv").unlink()
    FlatLayout(out).end(stamps(out), ScanOptions(no_picture=True))
    lost = rows(out / "cohort_lesions.tsv")
    assert lost["p1"] == before["p1"]
    assert (lost["p0"]["insula_ml"], lost["p0"]["left_ml"]) == ("n/a", edited["left_ml"])
    assert "volumes by region are unknown: " in lost["p0"]["review_reasons"]


def stamps(out: Path) -> dict[str, dict[str, Any]]:
    return {name: {"status": "done", **stamp(out / f"{name}.json")} for name in ("p0", "p1")}


def test_a_changed_atlas_is_not_used_for_a_corrected_mask(model: Path, tmp_path: Path) -> None:
    atlas, scans, out = write_planes(tmp_path), write_scans(tmp_path / "scans", 2), tmp_path / "out"
    assert segment(model, scans, out, *atlas, "--no-picture") == 0
    save_edit(FlatLayout(out), "p0", first_plane(), 0)
    (tmp_path / "planes.tsv").write_text("index\tname\n1\tcaudate\n")
    FlatLayout(out).end(stamps(out), ScanOptions(no_picture=True))
    told = rows(out / "cohort_lesions.tsv")["p0"]["review_reasons"]
    assert "the atlas has changed since the scan was segmented with it" in told


def test_sides_follow_a_corrected_mask_without_an_atlas_in_a_derivative_too(model: Path, tmp_path: Path) -> None:
    raw, out = write_bids(tmp_path / "raw"), tmp_path / "out"
    assert bids(model, raw, out, "participant", "--participant-label", "01") == 0
    save_edit(BidsLayout(out, raw), NAMES[0], first_plane(), 0)
    assert bids(model, raw, out, "group", "--participant-label", "01") == 0
    row = rows(out / "group_lesions.tsv")[NAMES[0]]
    assert float(row["left_ml"]) + float(row["right_ml"]) == float(row["edited_ml"]) == pytest.approx(25 * VOXEL_ML)


@pytest.mark.filterwarnings("ignore:its non-zero voxels span")
def test_python_gives_the_same_volumes_as_a_table(model: Path, tmp_path: Path) -> None:
    atlas, scan = write_planes(tmp_path), write_scans(tmp_path / "scans", 1) / "p0.nii.gz"
    options = {"atlas": atlas[1], "atlas_labels": atlas[3], "device": "cpu", "space": "mni"}
    found = ms.Segmenter(model, **options)(scan)  # type: ignore[arg-type]
    assert found.regions["region"].tolist() == ["put<amen>", "insula", "pons", "elsewhere"]
    assert found.regions["share"].tolist() == pytest.approx([0.4, 0.2, 0, 0.4])
    assert segment(model, scan, tmp_path / "out", *atlas) == 0
    assert found.save(tmp_path / "saved") == tmp_path / "saved"
    for name in ("p0.html", "p0.json"):
        assert contents(tmp_path / "saved")[name] == contents(tmp_path / "out")[name]
    assert ms.Segmenter(model, device="cpu", space="mni")(scan).regions.empty
    nowhere = ms.Segmenter(model, **{**options, "space": "auto"})(scan).regions  # type: ignore[arg-type]
    assert nowhere["volume_ml"].isna().all()
    with pytest.raises(ms.MappingError, match="belong together"):
        ms.Segmenter(model, atlas=atlas[1])
