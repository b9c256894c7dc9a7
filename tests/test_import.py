"""What importing loads, seen from a fresh interpreter."""

import subprocess
import sys
from importlib.metadata import version

import mapping_stroke

HEAVY = ("torch", "tyro", "nibabel", "SimpleITK", "matplotlib", "pandas", "nilearn", "sklearn", "lightning_fabric")
EDGES = ("tyro", "nibabel", "SimpleITK", "nilearn", "matplotlib", "pandas", "jinja2", "sklearn")


def loaded_after(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_no_torch_and_no_reader() -> None:
    assert loaded_after("import mapping_stroke") & set(HEAVY) == set()


def test_the_command_line_starts_without_numpy() -> None:
    assert loaded_after("import mapping_stroke.cli") & {"numpy", "torch", "scipy", "nibabel", "pandas"} == set()


def test_what_segments_with_openvino_loads_no_torch() -> None:
    loaded = loaded_after(
        "import mapping_stroke.cohort.loop, mapping_stroke.cohort.bids, mapping_stroke.pipeline\n"
        "from mapping_stroke.inference.engines import choose_engine\n"
        "choose_engine('cpu', 'openvino')"
    )
    assert "openvino" in loaded
    assert "torch" not in loaded


def test_stages_that_run_no_network_load_no_torch() -> None:
    stages = ("status", "experiment", "report", "compare", "evaluate")
    assert "torch" not in loaded_after("\n".join(f"import mapping_stroke.stages.{stage}" for stage in stages))


def test_the_core_imports_where_no_reader_is_installed() -> None:
    core = (
        "lesions",
        "rules",
        "networks.bundle",
        "training.loop",
        "training.checkpoint",
        "inference.segmentation",
    )
    block = f"import sys\nfor name in {EDGES!r}: sys.modules[name] = None\n"
    imports = "\n".join(f"import mapping_stroke.{module}" for module in core)
    done = subprocess.run([sys.executable, "-c", block + imports], capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


def test_the_public_names_are_what_they_say_in_whatever_order_modules_are_imported() -> None:
    program = (
        "import mapping_stroke as ms, mapping_stroke.rules, mapping_stroke.inference.segmentation\n"
        "from mapping_stroke.rules import RULES\n"
        "assert {name for name in ms.__all__ if not callable(getattr(ms, name))} == set()\n"
        "assert ms.postprocess.__module__ == 'mapping_stroke.rules' and len(RULES) == 4\n"
        "assert dir(ms) == sorted(ms.__all__) and len(ms.__all__) <= 15\n"
        "assert not hasattr(ms, 'nothing')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


def test_the_version_is_the_distribution_s() -> None:
    assert mapping_stroke.__version__ == version("mapping-stroke")
