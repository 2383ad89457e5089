"""Where things are, for the contracts."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tintype"


def files() -> list[Path]:
    """Every file that is in the repository, or would be with the next commit."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode == 0:
        paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:
        ours = ("tintype", "tests", "docs", "scripts", "benchmarks", "examples")
        paths = [p for folder in ours for p in (ROOT / folder).rglob("*") if "__pycache__" not in p.parts]
        paths += [p for p in ROOT.iterdir() if p.is_file()]
    return sorted(p for p in paths if p.is_file())
