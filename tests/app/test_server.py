"""What the app stores, and what it refuses, by its addresses."""

import csv
import errno
import gzip
import io
import json
import queue
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app_server import TOKEN, settings
from bids_data import PLACED, write_atlas
from mapping_stroke.app import server as module
from mapping_stroke.app import worker
from mapping_stroke.app.folder import open_results
from mapping_stroke.app.jobs import Jobs
from mapping_stroke.app.server import App, make_asgi
from mapping_stroke.app.uploads import safe_name, store_uploads
from mapping_stroke.cli import main
from mapping_stroke.cohort import review
from mapping_stroke.cohort.settings import RegionOptions
from mapping_stroke.errors import CaseError, MappingError, RunFolderError
from mapping_stroke.files import sha256
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.report.page_grid import PageGrid
from phantoms import AFFINE, phantom
from small_models import write_seeing_model

BASE = "http://127.0.0.1:8000"

pytestmark = pytest.mark.usefixtures("coarse_pictures")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeing_model(tmp_path_factory.mktemp("model") / "seeing.mapping").path


@pytest.fixture(scope="module")
def segmented(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two phantoms and of a file that is no image."""
    folder = tmp_path_factory.mktemp("segmented")
    for number in range(2):
        write_image(folder / "scans" / f"p{number}.nii.gz", phantom(number)[0], AFFINE)
    (folder / "scans" / "broken.nii.gz").write_text("no image")
    scans = [str(path) for path in sorted((folder / "scans").iterdir())]
    assert main(["segment", *scans, "-o", str(folder / "out"), "--model", str(model), "--device", "cpu"]) == 3
    return folder / "out"


@pytest.fixture
def results(segmented: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(segmented, tmp_path / "out"))


def client(folder: Path, model: Path, most_bytes: int = module.MOST_BYTES) -> TestClient:
    return TestClient(make_asgi(App(settings(folder, model)), TOKEN, 8000, most_bytes), base_url=BASE)


def at(address: str) -> str:
    return f"/{TOKEN}/{address}"


def review_of(app: TestClient, name: str = "p0") -> dict[str, Any]:
    found: dict[str, Any] = app.get(at(f"review/{name}")).json()
    return found


def test_the_list_has_all_scans_failures_first(results: Path, model: Path) -> None:
    state = client(results, model).get(at("state")).json()
    assert [(scan["name"], scan["status"], scan["page"]) for scan in state["scans"]] == [
        ("broken", "failed", False),
        ("p0", "done", True),
        ("p1", "done", True),
    ]
    assert "failed: " in state["scans"][0]["reasons"][0]
    assert state["scans"][1]["load_ml"] == pytest.approx(125 * 0.027)
    assert state["jobs"] == []


def test_a_rating_survives_a_restart_and_moves_the_scan_down(results: Path, model: Path) -> None:
    app = client(results, model)
    answer = app.post(at("rate/p0"), json={"rating": "accept", "note": "edge <b>", "revision": 0})
    assert answer.status_code == 200
    again = client(results, model)
    scans = again.get(at("state")).json()["scans"]
    assert [scan["name"] for scan in scans] == ["broken", "p1", "p0"]
    assert (scans[2]["rating"], scans[2]["note"]) == ("accept", "edge <b>")
    assert [review_of(again, name)["place"] for name in ("p0", "p1")] == ["1 of 2", "2 of 2"]
    assert [review_of(again, name)["after"] for name in ("p0", "p1")] == ["p1", None]
    stored = json.loads((results / "p0_review.json").read_text())
    assert stored["rated"].endswith("+00:00")
    assert "user" not in stored


def test_a_corrected_mask_is_a_file_of_its_own_and_its_volume_counts(results: Path, model: Path) -> None:
    app = client(results, model)
    before = sha256(results / "p0_mask.nii.gz")
    grid = PageGrid.from_json(json.loads((results / "p0.json").read_text())["page"])
    mask = np.frombuffer(gzip.decompress(app.get(at("mask/p0")).content), np.uint8).reshape(grid.shown_shape, order="F")
    changed = mask.copy()
    changed[:2, :1, :1] = 1
    assert mask.sum() == 125
    answer = app.post(at("edit/p0?revision=0"), content=gzip.compress(changed.tobytes(order="F")))
    assert answer.json()["edited_ml"] == pytest.approx(127 * 0.027)
    assert sha256(results / "p0_mask.nii.gz") == before
    edited = read_image(results / "p0_desc-edited_mask.nii.gz")
    assert (edited.voxels > 0).sum() == 127
    assert ((edited.voxels > 0) >= phantom(0)[1]).all()
    again = client(results, model)
    assert again.get(at("state")).json()["scans"][1]["load_ml"] == pytest.approx(127 * 0.027)
    assert gzip.decompress(again.get(at("mask/p0")).content) == changed.tobytes(order="F")


def test_the_volumes_by_region_of_a_corrected_mask_are_given_to_the_page(model: Path, tmp_path: Path) -> None:
    image, table = write_atlas(tmp_path)
    write_image(tmp_path / "p0.nii.gz", phantom(0)[0], PLACED)
    call = ["segment", str(tmp_path / "p0.nii.gz"), "-o", str(tmp_path / "out"), "--model", str(model)]
    atlas = ["--atlas", str(image), "--atlas-labels", str(table)]
    assert main([*call, "--device", "cpu", "--space", "mni", *atlas]) == 0
    app = client(tmp_path / "out", model)
    assert review_of(app)["regions"] == ""  # the page has those of the mask as segmented
    packed = gzip.compress(bytes(len(gzip.decompress(app.get(at("mask/p0")).content))))
    answer = app.post(at("edit/p0?revision=0"), content=packed).json()
    assert answer["regions"].startswith("<h2>Volume by region of the corrected mask</h2>")
    assert "3 regions without lesion." in answer["regions"]
    assert review_of(app)["regions"] == answer["regions"]
    table.unlink()
    lost = review_of(app)
    assert lost["regions"] == ""
    assert "the volumes by region are not those of the corrected mask: " in lost["warnings"][0]


def test_segmenting_anew_keeps_the_correction_and_says_that_it_is_old(
    results: Path, model: Path, segmented: Path
) -> None:
    app = client(results, model)
    packed = app.get(at("mask/p0")).content
    assert app.post(at("edit/p0?revision=0"), content=packed).status_code == 200
    assert review_of(app)["warnings"] == []
    corrected = (results / "p0_desc-edited_mask.nii.gz").read_bytes()
    scans = [str(path) for path in sorted((segmented.parent / "scans").glob("p*"))]
    other = ("--rule", "none", "--overwrite", "--no-picture")
    assert main(["segment", *scans, "-o", str(results), "--model", str(model), "--device", "cpu", *other]) == 0
    assert (results / "p0_desc-edited_mask.nii.gz").read_bytes() == corrected
    write_image(results / "p0_mask.nii.gz", ~phantom(0)[1], AFFINE)
    assert "segmented again after its mask was corrected" in review_of(app)["warnings"][0]


def test_a_scan_that_changed_or_is_gone_is_told(results: Path, model: Path, segmented: Path) -> None:
    app, scan = client(results, model), segmented.parent / "scans" / "p0.nii.gz"
    stored = scan.read_bytes()
    try:
        write_image(scan, phantom(5)[0], AFFINE)
        assert "has changed since it was segmented" in review_of(app)["warnings"][0]
        scan.unlink()
        assert "no longer there" in review_of(app)["warnings"][0]
    finally:
        scan.write_bytes(stored)


def test_the_files_about_all_scans_follow(results: Path, model: Path) -> None:
    app = App(settings(results, model))
    browser = TestClient(make_asgi(app, TOKEN, 8000), base_url=BASE)
    assert browser.get(at("state")).json()["group"] == "cohort.html"
    assert browser.get(at("scan/cohort.html")).status_code == 200
    assert '"name": "p0"' in browser.get(at("scan/p0.html")).text  # the page with its panel
    assert browser.post(at("rate/p0"), json={"rating": "reject", "note": "motion", "revision": 0}).status_code == 200
    packed = browser.get(at("mask/p1")).content
    assert browser.post(at("edit/p1?revision=0"), content=packed).status_code == 200
    app.group.end()
    with (results / "cohort_lesions.tsv").open() as file:
        rows = {row["scan"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert (rows["p0"]["rating"], rows["p0"]["note"]) == ("reject", "motion")
    assert float(rows["p1"]["edited_ml"]) == pytest.approx(125 * 0.027)
    assert "motion" in (results / "cohort.html").read_text("utf-8")


def test_two_windows_cannot_overwrite_one_another(results: Path, model: Path) -> None:
    app = client(results, model)
    packed = app.get(at("mask/p0")).content
    assert app.post(at("rate/p0"), json={"rating": "accept", "note": "", "revision": 0}).status_code == 200
    for late in (
        app.post(at("rate/p0"), json={"rating": "reject", "note": "", "revision": 0}),
        app.post(at("edit/p0?revision=0"), content=packed),
    ):
        assert late.status_code == 409
        assert "changed in another window or by another person" in late.json()["error"]
    assert review_of(app)["rating"] == "accept"
    assert not (results / "p0_desc-edited_mask.nii.gz").exists()


def test_painting_outside_the_brain_is_doubted(results: Path, model: Path) -> None:
    write_image(results / "p0_brain.nii.gz", phantom(0)[0] > 0, AFFINE)
    app = client(results, model)
    grid = PageGrid.from_json(json.loads((results / "p0.json").read_text())["page"])
    everything = gzip.compress(np.ones(grid.shown_shape, np.uint8).tobytes())
    warnings = app.post(at("edit/p0?revision=0"), content=everything).json()["warnings"]
    assert "of the mask lie outside the brain" in warnings[0]


@pytest.mark.parametrize(
    ("size", "words"),
    [(None, "cannot be read"), (7, "has 7 voxels, expected"), (10**8, "expected")],
)
def test_what_is_no_mask_of_this_scan_is_refused(results: Path, model: Path, size: int | None, words: str) -> None:
    # packed here: gzip holds the time, so two processes that collect the tests would see different names
    content = b"no gzip" if size is None else gzip.compress(bytes(size))
    answer = client(results, model).post(at("edit/p0?revision=0"), content=content)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert not (results / "p0_desc-edited_mask.nii.gz").exists()


def test_a_full_disk_loses_nothing(results: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = client(results, model)
    packed = app.get(at("mask/p0")).content
    assert app.post(at("edit/p0?revision=0"), content=packed).status_code == 200
    stored = sha256(results / "p0_desc-edited_mask.nii.gz")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(review, "write_image", fail)
    answer = app.post(at("edit/p0?revision=1"), content=packed)
    assert answer.status_code == 507
    assert "nothing was lost" in answer.json()["error"]
    assert sha256(results / "p0_desc-edited_mask.nii.gz") == stored
    assert review_of(app)["revision"] == 1


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({}, "/wrong/state"),
        ({}, "/state"),
        ({"host": "evil.example:8000"}, f"/{TOKEN}/state"),
        ({"origin": "http://evil.example"}, f"/{TOKEN}/state"),
        ({"origin": "null"}, f"/{TOKEN}/state"),
        ({"sec-fetch-site": "cross-site"}, f"/{TOKEN}/state"),
    ],
)
def test_requests_of_others_are_refused(results: Path, model: Path, headers: dict[str, str], address: str) -> None:
    app = client(results, model)
    assert app.get(address, headers=headers).status_code == 403
    assert app.post(address, headers=headers, json={}).status_code == 403
    assert app.get(at("state"), headers={"origin": BASE}).status_code == 200


@pytest.mark.parametrize(
    "name", ["../out/run.json", "%2e%2e/secret.txt", "..%2Fsecret.txt", "/etc/passwd", "run.json", ".mapping/x"]
)
def test_only_results_of_scans_are_given_out(results: Path, model: Path, name: str) -> None:
    (results.parent / "secret.txt").write_text("secret")
    answer = client(results, model).get(at(f"scan/{name}"))
    assert answer.status_code == 404
    assert "secret\n" not in answer.text
    good = client(results, model).get(at("scan/p0_mask.nii.gz"))
    assert good.content == (results / "p0_mask.nii.gz").read_bytes()


def test_too_much_at_once_is_refused(results: Path, model: Path, tmp_path: Path) -> None:
    app = client(results, model, most_bytes=1000)
    assert app.post(at("upload"), files={"files": ("a.nii", b"0" * 2000)}).status_code == 413

    def without_length() -> Any:
        yield b"0" * 2000

    assert app.post(at("edit/p0?revision=0"), content=without_length()).status_code == 413
    assert not (tmp_path / "out-uploads").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rating": "great", "note": "", "revision": 0}, "no rating 'great'; expected one of accept, doubtful, reject"),
        ({"rating": "accept", "note": "x" * 3000, "revision": 0}, "a note of 3000 characters, expected at most 2000"),
        ({"rating": "accept"}, "names no revision"),
        ([], "no JSON object"),
    ],
)
def test_wrong_ratings_are_refused(results: Path, model: Path, given: object, words: str) -> None:
    answer = client(results, model).post(at("rate/p0"), json=given)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_a_scan_that_is_not_there_is_told(results: Path, model: Path) -> None:
    app = client(results, model)
    for answer in (app.get(at("scan/p9")), app.get(at("review/p9")), app.get(at("mask/p9"))):
        assert answer.status_code == 404
    assert "broken" in app.get(at("scan/broken")).json()["error"]


def test_another_folder_can_be_opened(results: Path, model: Path, tmp_path: Path) -> None:
    app = client(tmp_path / "new", model)
    assert app.get(at("state")).json()["scans"] == []
    assert app.post(at("open"), json={"folder": str(results)}).status_code == 200
    assert len(app.get(at("state")).json()["scans"]) == 3
    for folder, words in ((tmp_path, "holds no results"), ("relative", "is not an absolute path")):
        answer = app.post(at("open"), json={"folder": str(folder)})
        assert answer.status_code in (400, 404)
        assert words in answer.json()["error"]
    assert len(app.get(at("state")).json()["scans"]) == 3


def test_results_of_another_version_are_refused(results: Path) -> None:
    told = json.loads((results / "run.json").read_text())
    (results / "run.json").write_text(json.dumps({**told, "format": 99}))
    with pytest.raises(RunFolderError, match="written by another version"):
        open_results(results)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("scan.nii.gz", "scan.nii.gz"),
        ("../../etc/passwd", "passwd"),
        ("C:\\scans\\T1 (2).NII.GZ", "T1_2.nii.gz"),
        (".hidden.nii", "hidden.nii"),
        ("\u202e.nii", "scan.nii"),
        ("a" * 300 + ".nii", "a" * 80 + ".nii"),
    ],
)
def test_names_of_uploads_become_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_uploads_keep_apart_what_differs(tmp_path: Path) -> None:
    one, two = io.BytesIO(b"one"), io.BytesIO(b"two")
    assert list(store_uploads(tmp_path / "out", [("a.nii", one)])) == ["a.nii"]
    assert list(store_uploads(tmp_path / "out", [("b/a.nii", two)])) == ["a-2.nii"]
    assert list(store_uploads(tmp_path / "out", [("a.nii", one)])) == ["a.nii"]
    series = [(f"exam/s1/{number}", io.BytesIO(b"x")) for number in range(3)]
    assert [
        sorted(path.name for path in folder.iterdir()) for folder in store_uploads(tmp_path / "out", series).values()
    ] == [["00000.dcm", "00001.dcm", "00002.dcm"]]
    with pytest.raises(CaseError, match="no scan was dropped"):
        store_uploads(tmp_path / "out", [])
    with pytest.raises(MappingError, match=r"e\.nii: is empty"):
        store_uploads(tmp_path / "out", [("e.nii", io.BytesIO())])
    assert not [path for path in (tmp_path / "out-uploads").iterdir() if path.name.startswith(".")]


def test_files_beside_scans_are_no_scans_and_equal_names_begin_with_their_folder(tmp_path: Path) -> None:
    names = ["d/s1/T1.nii.gz", "d/s1/T1.json", "d/s2/T1.nii.gz", "d/participants.tsv", "x.nii", "x.nii"]
    files = [(name, io.BytesIO(f"{number}".encode())) for number, name in enumerate(names)]
    found = store_uploads(tmp_path / "out", files)
    assert {name: path.read_text() for name, path in found.items()} == {
        "s1_T1.nii.gz": "0",
        "s2_T1.nii.gz": "2",
        "x.nii": "4",
        "x-2.nii": "5",
    }
    with pytest.raises(CaseError, match="no scan was dropped"):
        store_uploads(tmp_path / "out", [("d/s1/T1.json", io.BytesIO(b"{}"))])


def test_a_port_in_use_gives_way_to_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listening = module._listen(port)
        assert listening.getsockname()[1] != port
        assert listening.getsockname()[0] == "127.0.0.1"
        listening.close()


def test_dropped_scans_are_measured_by_the_atlas_that_the_app_was_given(model: Path, tmp_path: Path) -> None:
    image, table = write_atlas(tmp_path)
    write_image(tmp_path / "p0.nii.gz", phantom(0)[0], PLACED)
    given, regions, asked = settings(tmp_path / "out", model), RegionOptions(image, table), queue.Queue[str]()

    def start(request: str) -> Any:
        asked.put(request)
        raise OSError("stands in for a process")

    jobs = Jobs(replace(given.computation, space="mni"), regions, start=start)
    jobs.add("p0", tmp_path / "p0.nii.gz", tmp_path / "out")
    assert worker.main(asked.get(timeout=10)) == 0
    stamp = json.loads((tmp_path / "out" / "p0.json").read_text())
    assert sum(stamp["regions"]["volumes_ml"].values()) == pytest.approx(stamp["load_ml"])
    table.write_text("index\tname\n1\tload\n")
    with pytest.raises(CaseError, match="named like columns of the table"):
        App(replace(given, regions=regions))
