"""What holds for every test: nothing is fetched from the network, and nothing is left in the user's cache."""

import os
import tempfile

for switch in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
    os.environ[switch] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # the other workers have the other cores; what tests start counts too
    os.environ.setdefault("OMP_NUM_THREADS", "1")

_cache = tempfile.TemporaryDirectory(prefix="tintype-cache-")
os.environ["TINTYPE_CACHE"] = _cache.name
