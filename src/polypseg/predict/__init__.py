"""From an image of any size and a model to a probability map at the image's own size."""

import sys

# OpenVINO, when it is imported, sends an event to a statistics service and writes into the user's home; without this
# package of its own it does neither. What is predicted here is nobody else's business.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
