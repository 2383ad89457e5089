"""What holds for every test: nothing is fetched from the network."""

import os

for switch in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
    os.environ[switch] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
