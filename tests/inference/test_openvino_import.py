"""What is imported with OpenVINO, and what is not."""

import re
import subprocess
import sys
from pathlib import Path

import mapping_stroke

PROGRAM = """
import sys
import mapping_stroke.inference.openvino_engine
from mapping_stroke.inference.openvino_import import ov
assert ov.Core().available_devices
assert "openvino" in sys.modules
print([name for name in sys.modules if name.startswith("openvino_telemetry")])
"""


def test_no_telemetry_is_loaded_and_nothing_is_written_into_the_home_folder(tmp_path: Path) -> None:
    command = ["env", f"HOME={tmp_path}", sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert list(tmp_path.iterdir()) == []


def test_openvino_is_imported_in_one_place() -> None:
    (package,) = mapping_stroke.__path__
    importing = [
        path.name
        for path in Path(package).rglob("*.py")
        if re.search(r"^\s*(import|from) openvino\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert importing == ["openvino_import.py"]
