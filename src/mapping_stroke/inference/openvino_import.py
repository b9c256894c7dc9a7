"""OpenVINO without its telemetry; the only place that imports it.

Imported as it stands, it tells its makers so over the network and keeps a number for the user in the home folder.
Nothing may leave a machine on which patients' scans lie: here it finds no telemetry package, and a stub stands in.
"""

import sys

TELEMETRY = "openvino_telemetry"
_before = sys.modules.get(TELEMETRY)
sys.modules[TELEMETRY] = None  # type: ignore[assignment] # how Python is told that a module cannot be imported

import openvino as ov  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

if _before is None:
    del sys.modules[TELEMETRY]
else:
    sys.modules[TELEMETRY] = _before

__all__ = ["ops", "ov"]
