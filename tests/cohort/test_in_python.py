"""`ms.segment` and `ms.Segmenter`: the same result for a file and for its image in memory, and its uses."""

import gzip
import io
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its users know

import mapping_stroke as ms
from mapping_stroke.cli import main
from mapping_stroke.cohort import segmented
from mapping_stroke.networks.bundle import Bundle
from mapping_stroke.report import notebook
from phantoms import AFFINE, SHAPE, phantom
from small_models import write_seeing_model

COLUMNS = ["lesion", "volume_ml", "x_mm", "y_mm", "z_mm", "max_probability", "mean_probability", "mean_uncertainty"]
OBLIQUE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2, -0.1, 0.15) @ np.diag([-3, 3, 3.0]), [9, -7, 4])
LPS = np.diag([-3.0, -3.0, 3.0, 1.0])

pytestmark = [
    pytest.mark.filterwarnings("ignore:its non-zero voxels span"),  # a phantom is smaller than a brain
    pytest.mark.usefixtures("coarse_pictures"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two members that mark what is dark."""
    return write_seeing_model(tmp_path_factory.mktemp("model") / "seeing.mapping").path


@pytest.fixture(scope="module")
def segmenter(model: Path) -> ms.Segmenter:
    return ms.Segmenter(model, device="cpu")


def nifti(affine: np.ndarray = AFFINE, kind: type = np.float32, seed: int = 0) -> nib.Nifti1Image:
    return nib.Nifti1Image(phantom(seed)[0].astype(kind), affine)


def by_qform() -> nib.Nifti1Image:
    image = nifti(LPS)
    image.set_qform(LPS, code=1)
    image.set_sform(None, code=0)
    return image


def scaled() -> nib.Nifti1Image:
    """Whole numbers that a slope and an intercept make real ones."""
    image = nib.Nifti1Image(np.rint(phantom(0)[0]).astype(np.int16), AFFINE)
    stored = nib.Nifti1Image.from_bytes(image.to_bytes())
    stored.header.set_slope_inter(0.5, 3)
    return nib.Nifti1Image(nib.arrayproxy.reshape_dataobj(stored.dataobj, stored.shape), AFFINE, stored.header)


IMAGES: dict[str, Callable[[], Any]] = {
    "RAS": lambda: nifti(np.diag([3.0, 3, 3, 1])),
    "LPS": lambda: nifti(LPS),
    "oblique": lambda: nifti(OBLIQUE),
    "placed by the qform": by_qform,
    "int16": lambda: nifti(kind=np.int16),
    "uint8": lambda: nifti(kind=np.uint8),
    "float64": lambda: nifti(kind=np.float64),
    "scaled": scaled,
    "one volume of four dimensions": lambda: nib.Nifti1Image(phantom(0)[0][..., None], AFFINE),
    "NIfTI-2": lambda: nib.Nifti2Image(phantom(0)[0], OBLIQUE),
    "FreeSurfer": lambda: nib.MGHImage(phantom(0)[0], OBLIQUE),
}


def require_same(one: ms.Segmentation, other: ms.Segmentation) -> None:
    assert len(one.lesions) > 0
    for name in ("mask", "probability", "uncertainty", "affine"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    pd.testing.assert_frame_equal(one.lesions, other.lesions)
    assert one.warnings == other.warnings
    for name in ("mask", "probability", "uncertainty"):
        assert one.to_nifti(name).to_bytes() == other.to_nifti(name).to_bytes()


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_of_nibabel_gives_the_result_of_its_file(kind: str, segmenter: ms.Segmenter, tmp_path: Path) -> None:
    image = IMAGES[kind]()
    path = tmp_path / ("scan.mgz" if kind == "FreeSurfer" else "scan.nii.gz")
    nib.save(image, path)
    by_file = segmenter(path)
    for given in (image, nib.load(path)):
        require_same(segmenter(given), by_file)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("voxels", [np.int16, np.float32])
def test_an_image_of_simpleitk_gives_the_result_of_its_file(
    suffix: str, voxels: type, segmenter: ms.Segmenter, tmp_path: Path
) -> None:
    image = sitk.GetImageFromArray(phantom(0)[0].astype(voxels).T)
    image.SetSpacing((3, 3, 3))
    image.SetDirection(nib.eulerangles.euler2mat(0.2, -0.1, 0.15).ravel())
    image.SetOrigin((10, 20, -30))
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(image, path)
    in_memory, by_file = segmenter(image), segmenter(path)
    np.testing.assert_array_equal(in_memory.mask, by_file.mask)
    np.testing.assert_allclose(in_memory.affine, by_file.affine, atol=1e-5)
    np.testing.assert_allclose(in_memory.probability, by_file.probability, atol=1e-5)
    np.testing.assert_allclose(in_memory.lesions, by_file.lesions, atol=1e-3)
    first = in_memory.affine[:3, 3]
    np.testing.assert_allclose(first, [-10, -20, -30], atol=1e-5)  # ITK's millimetres are LPS


def test_the_image_of_the_caller_stays_as_it_is(segmenter: ms.Segmenter) -> None:
    image = nifti()
    header, voxels = image.header.copy(), image.get_fdata().copy()
    found = segmenter(image)
    assert image.header == header
    np.testing.assert_array_equal(image.get_fdata(), voxels)
    before = found._repr_html_()
    image.dataobj[:] = 0
    found.to_nifti("probability").dataobj[:] = 0
    assert found.probability.any()
    assert segmenter(nifti())._repr_html_() == before


def unpacked(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_stream(io.BytesIO(gzip.decompress(content)))


def array_of(kind: type) -> np.ndarray:
    return np.zeros((4, 4, 4), kind)


REFUSED: dict[str, tuple[Any, str]] = {
    "a list": ([1], "the image: is a list, expected a path, or an image of nibabel, SimpleITK or mapping_stroke"),
    "nothing": (None, "the image: is a NoneType, expected a path"),
    "an array": (array_of(np.float32), r"the image: is an array, .*; pass ms.Image\(array, affine\)"),
    "a series": (nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), AFFINE), "the image: has 4 dimensions"),
    "complex": (nib.Nifti1Image(array_of(np.complex64), AFFINE), "the image: holds complex numbers, expected one real"),
    "infinity": (nib.Nifti1Image(array_of(np.float32) + np.inf, AFFINE), "the image: holds 64 NaN or infinite"),
    "nothing in it": (
        nib.Nifti1Image(np.zeros(SHAPE, np.float32), AFFINE),
        "the image: all voxels are 0",
    ),
    "a surface": (nib.GiftiImage(), "the image: is a GiftiImage, expected a path"),
    "no affine": (nib.AnalyzeImage(array_of(np.float32), None), "the image: has no affine"),
    "complex in ITK": (sitk.Image([4, 4, 4], sitk.sitkComplexFloat32), "the image: holds 2 numbers per voxel"),
    "colours in ITK": (sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 3), "the image: holds 3 numbers per voxel"),
    "labels in ITK": (sitk.Image([4, 4, 4], sitk.sitkLabelUInt8), "the image: holds a label of"),
    "a slice in ITK": (sitk.Image([4, 4], sitk.sitkFloat32), "the image: has 2 dimensions"),
    "a missing file": ("nowhere/scan.nii.gz", "^nowhere/scan.nii.gz: no such file; check the path$"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_scan_is_refused_in_one_line(kind: str, segmenter: ms.Segmenter) -> None:
    given, why = REFUSED[kind]
    with pytest.raises(ms.MappingError, match=f"^{why}" if not why.startswith("^") else why) as caught:
        segmenter(given)
    assert "\n" not in str(caught.value)


def test_a_refused_image_is_named_after_its_file_if_it_has_one(segmenter: ms.Segmenter, tmp_path: Path) -> None:
    path = tmp_path / "two.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), AFFINE), path)
    lost = nib.load(path)
    for given in (path, str(path), nib.load(path)):
        with pytest.raises(ms.MappingError, match=f"^{path}: has 4 dimensions"):
            segmenter(given)
    path.unlink()
    with pytest.raises(ms.MappingError, match=f"^{path}: cannot be read"):
        segmenter(lost)


def test_a_segmenter_reads_its_weights_once_and_reports_progress(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, said = [], list[tuple[float, str]]()
    original = Bundle.read_weights
    monkeypatch.setattr(Bundle, "read_weights", lambda self, member: read.append(member) or original(self, member))
    segmenter = ms.Segmenter(model, device="cpu")
    assert repr(segmenter).startswith("Segmenter(model=")
    scans = [nifti(seed=seed) for seed in range(3)]
    found = [segmenter.segment(scan, progress=lambda share, step: said.append((share, step))) for scan in scans]
    assert len(read) == 2  # members
    for scan, one in zip(scans, found, strict=True):
        require_same(one, ms.segment(scan, model, device="cpu"))
    shares = [share for share, _ in said[: len(said) // 3]]
    assert shares == sorted(shares)
    assert (said[0], said[-1]) == ((0.0, "reading and placing the scan"), (1.0, "done"))
    assert {step for _, step in said[1:-1]} >= {"predicting"}
    assert sum(0.2 < share < 0.95 for share in shares) >= 1


def test_threads_share_a_segmenter(segmenter: ms.Segmenter) -> None:
    scans = [nifti(seed=seed) for seed in (0, 1)]
    alone = [segmenter(scan) for scan in scans]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda number: segmenter(scans[number % 2]), range(4)))
    for number, found in enumerate(together):
        require_same(found, alone[number % 2])


def test_an_error_of_the_progress_callback_ends_the_segmentation(segmenter: ms.Segmenter) -> None:
    def stop(share: float, step: str) -> None:
        if step == "predicting":
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        segmenter(nifti(), progress=stop)
    assert len(segmenter(nifti()).lesions) > 0


def test_settings_are_those_of_the_command(model: Path) -> None:
    everything = ms.Segmenter(model, preset="fast", device="cpu", rule="none", engine="torch", precision="float32")
    found = everything(nifti())
    np.testing.assert_array_equal(found.mask, found.probability > 0.5)
    assert not found.uncertainty.any()  # of one member
    with pytest.raises(ms.MappingError, match="'tpu'"):
        ms.Segmenter(model, device="tpu")


def test_doubts_are_warnings_at_the_line_of_the_caller(model: Path, segmenter: ms.Segmenter) -> None:
    for call in (segmenter, segmenter.segment, lambda scan: ms.segment(scan, model, device="cpu")):
        with pytest.warns(UserWarning, match="its non-zero voxels span") as caught:
            found = call(nifti())
        assert [str(warning.message) for warning in caught] == list(found.warnings)


def test_the_table_has_the_columns_and_values_of_the_command(segmenter: ms.Segmenter, tmp_path: Path) -> None:
    found = segmenter(nifti())
    assert list(found.lesions.columns) == [*COLUMNS, "agreement"]
    assert found.lesions["volume_ml"].is_monotonic_decreasing
    written = pd.read_csv(found.save(tmp_path / "out", "p0") / "p0_lesions.tsv", sep="\t")
    pd.testing.assert_frame_equal(found.lesions.round(3), written, check_dtype=False)


def test_a_scan_without_lesions_has_an_empty_table_of_the_same_types(segmenter: ms.Segmenter) -> None:
    bright = 100 + np.random.default_rng(0).exponential(5, SHAPE)
    voxels = np.where(phantom(0)[0] > 0, bright, 0).astype(np.float32)  # no voxel is far darker than the rest
    none, some = segmenter(nib.Nifti1Image(voxels, AFFINE)), segmenter(nifti())
    assert len(none.lesions) == 0
    assert none.lesions.dtypes.to_dict() == some.lesions.dtypes.to_dict()
    assert not none.mask.any()
    assert "<table" not in none._repr_html_()
    assert repr(none) == "<Segmentation: no lesion, 20 x 22 x 18 voxels>"


def test_maps_become_images_on_the_grid_of_the_scan(segmenter: ms.Segmenter, tmp_path: Path) -> None:
    scan = nifti(OBLIQUE)
    found = segmenter(scan)
    for name, kind in (("mask", np.uint8), ("probability", np.float32), ("uncertainty", np.float32)):
        image = found.to_nifti(name)
        assert image.get_data_dtype() == kind
        np.testing.assert_array_equal(image.get_fdata(), getattr(found, name))
        np.testing.assert_allclose(image.affine, scan.affine, atol=1e-5)
        nib.save(image, tmp_path / "map.nii.gz")
        np.testing.assert_array_equal(ms.read_image(tmp_path / "map.nii.gz").voxels, getattr(found, name))
    np.testing.assert_array_equal(found.to_nifti().get_fdata(), found.mask)
    with pytest.raises(ms.MappingError, match="no map 'masks'; expected one of mask, probability, uncertainty"):
        found.to_nifti("masks")


def without_seconds(stamp: Path) -> str:
    return stamp.read_text().partition('"seconds"')[0]


def test_saving_leaves_the_files_of_the_command_byte_for_byte(
    model: Path, segmenter: ms.Segmenter, tmp_path: Path
) -> None:
    scan, by_command = tmp_path / "p0_T1w.nii.gz", tmp_path / "command"
    nib.save(nifti(OBLIQUE), scan)
    assert main(["segment", str(scan), "-o", str(by_command), "--model", str(model), "--device", "cpu"]) == 0
    by_python = segmenter(scan).save(tmp_path / "new" / "python")
    stamp = "p0_T1w.json"
    names = {path.name for path in by_command.glob("p0_T1w*")}
    assert {path.name for path in by_python.iterdir()} == names > {stamp, "p0_T1w.png", "p0_T1w_mask.nii.gz"}
    for name in names - {stamp}:
        assert (by_python / name).read_bytes() == (by_command / name).read_bytes(), name
    assert without_seconds(by_python / stamp) == without_seconds(by_command / stamp)
    in_memory = segmenter(nib.load(scan)).save(tmp_path / "memory")
    for name in names - {stamp}:
        assert (in_memory / name).read_bytes() == (by_command / name).read_bytes(), name


def test_no_temporary_file_is_written(segmenter: ms.Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError):
        tempfile.mkstemp()
    monkeypatch.chdir(tmp_path)
    found = segmenter(nifti())
    found.to_nifti()
    found._repr_html_()
    assert list(tmp_path.iterdir()) == []


def test_saving_again_replaces_the_same_scan_and_refuses_another(segmenter: ms.Segmenter, tmp_path: Path) -> None:
    one, other = segmenter(nifti(seed=0)), segmenter(nifti(seed=1))
    mask = one.save(tmp_path, "a") / "a_mask.nii.gz"
    first = mask.read_bytes()
    (tmp_path / "a_to-MNI152.txt").touch()  # of an older version, for example
    segmenter(nifti(seed=0)).save(tmp_path, "a")
    assert mask.read_bytes() == first
    assert not (tmp_path / "a_to-MNI152.txt").exists()
    with pytest.raises(ms.MappingError, match="holds files named a that are not of this scan; save under another"):
        other.save(tmp_path, "a")
    assert mask.read_bytes() == first
    other.save(tmp_path, "b")
    other.save(tmp_path, "a", overwrite=True)
    assert mask.read_bytes() != first


def test_a_file_beside_the_scan_that_is_no_result_is_kept(segmenter: ms.Segmenter, tmp_path: Path) -> None:
    scan, sidecar = tmp_path / "sub-01_T1w.nii.gz", tmp_path / "sub-01_T1w.json"
    nib.save(nifti(), scan)
    sidecar.write_text('{"Modality": "MR"}')
    with pytest.raises(ms.MappingError, match="files named sub-01_T1w that are not of this scan"):
        segmenter(scan).save(tmp_path)
    assert sidecar.read_text() == '{"Modality": "MR"}'


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "run", "RUN"])
def test_a_name_that_names_no_file_is_refused(name: str, segmenter: ms.Segmenter, tmp_path: Path) -> None:
    with pytest.raises(ms.MappingError, match="name"):
        segmenter(nifti()).save(tmp_path / "out", name)
    assert not (tmp_path / "out").exists()


def test_the_folder_of_a_command_is_refused(model: Path, segmenter: ms.Segmenter, tmp_path: Path) -> None:
    scan, out = tmp_path / "a.nii.gz", tmp_path / "out"
    nib.save(nifti(), scan)
    options = ["--model", str(model), "--device", "cpu", "--no-picture"]
    assert main(["segment", str(scan), "-o", str(out), *options]) == 0
    with pytest.raises(ms.MappingError, match=r"holds the results of a command \(run.json\); save into another"):
        segmenter(scan).save(out)


def test_a_failure_while_saving_leaves_nothing_half_done(
    segmenter: ms.Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = segmenter(nifti())

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segmented.ScanFiles, "write_stamp", fail)
    with pytest.raises(OSError, match="No space left"):
        found.save(tmp_path / "out", "a")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_notebook_shows_the_picture_the_table_and_doubts(segmenter: ms.Segmenter, tmp_path: Path) -> None:
    scan = tmp_path / "p0.nii.gz"
    nib.save(nifti(), scan)
    found = segmenter(scan)
    shown = found._repr_html_()
    assert shown == found._repr_html_()
    assert 'src="data:image/png;base64,' in shown
    assert "http" not in shown
    for column in found.lesions.columns:
        assert f"<th>{column}</th>" in shown
    assert f"<td>{found.lesions['volume_ml'][0]:.3f}</td>" in shown
    assert "Warning: its non-zero voxels span" in shown
    assert repr(found).startswith("<Segmentation of p0: ")


def test_a_long_table_is_cut_and_the_rest_counted(segmenter: ms.Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "LISTED", 0)
    found = segmenter(nifti())
    assert f"and {len(found.lesions)} smaller" in found._repr_html_()


def test_without_the_viewer_one_line_says_how_to_install_it(
    segmenter: ms.Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "find_spec", lambda _: None)
    with pytest.raises(ms.MappingError, match=r"^the viewer needs ipyniivue; install it: pip install 'mapping-stroke"):
        segmenter(nifti()).view()


def test_the_viewer_has_four_layers_on_the_grid_of_the_scan(segmenter: ms.Segmenter) -> None:
    pytest.importorskip("ipyniivue", reason="the extra `notebook` is not installed: pip install ipyniivue")
    found = segmenter(nifti(OBLIQUE))
    viewer = found.view(height=300, show_head=True)
    assert viewer.height == 300
    assert [layer.name for layer in viewer.volumes] == [
        "scan.nii.gz", "lesions.nii.gz", "probability.nii.gz", "uncertainty.nii.gz",
    ]  # fmt: skip
    assert [layer.opacity for layer in viewer.volumes] == [1.0, 0.5, 0.0, 0.0]
    shown = [unpacked(layer.data) for layer in viewer.volumes]
    for image in shown:
        np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)
    np.testing.assert_array_equal(shown[1].get_fdata(), found.mask)
    for image, name, step in ((shown[2], "probability", 1 / 255), (shown[3], "uncertainty", 0.5 / 255)):
        np.testing.assert_allclose(image.get_fdata(), getattr(found, name), atol=0.51 * step)
    np.testing.assert_allclose(shown[0].get_fdata(), phantom(0)[0], atol=0.01)


def test_a_page_is_written_where_it_is_asked_for(segmenter: ms.Segmenter, tmp_path: Path) -> None:
    found = segmenter(nib.Nifti1Image(phantom(0)[0], AFFINE))
    page = found.page(tmp_path / "pages" / "p0.html")
    assert page == tmp_path / "pages" / "p0.html"
    assert "<title>p0: stroke lesions</title>" in page.read_text("utf-8")
