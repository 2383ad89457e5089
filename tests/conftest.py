"""What holds for every test: nothing is fetched from the network, and nothing is left in the user's cache."""

import os
import tempfile

for switch in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
    os.environ[switch] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # the other workers have the other cores; what tests start counts too
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Programs that tests start find byte code from the second one on, as a user's do; compiling all of it takes seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_cache = tempfile.TemporaryDirectory(prefix="tintype-cache-")
os.environ["TINTYPE_CACHE"] = _cache.name
