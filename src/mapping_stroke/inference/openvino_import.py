"""Import OpenVINO without its telemetry; no other module imports it.

A plain import reports itself to the vendor over the network and keeps an identifier for the user in the home folder.
Nothing may leave a machine with patients' scans, so the telemetry package is hidden and OpenVINO uses its stub.
"""

import sys

TELEMETRY = "openvino_telemetry"
_before = sys.modules.get(TELEMETRY)
sys.modules[TELEMETRY] = None  # type: ignore[assignment] # marks the module as not importable

import openvino as ov  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

if _before is None:
    del sys.modules[TELEMETRY]
else:
    sys.modules[TELEMETRY] = _before

__all__ = ["ops", "ov"]
