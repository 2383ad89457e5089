"""Builds what is not Python: the kernels of ``tintype/speed``, where there is a C compiler and an x86-64 processor.

Without them the package is complete all the same: torch computes what they would.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("tintype/speed")
LIBRARY = FOLDER / "libtintype.so"
FLAGS = ("-std=c11", "-O3", "-fPIC", "-shared", "-pthread")


class KernelHook(BuildHookInterface):
    """Puts the library beside its source, for a wheel and for an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a compiler that cannot is told of, and the package goes without."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        library, compiler = root / LIBRARY, shutil.which(os.environ.get("CC", "cc"))
        library.unlink(missing_ok=True)
        if compiler is None or platform.machine() not in ("x86_64", "AMD64") or sys.platform == "win32":
            return
        beside = library.with_suffix(".building")
        sources = sorted(str(path) for path in (root / FOLDER).glob("*.c"))
        command = [compiler, *FLAGS, "-o", str(beside), *sources, "-lm"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            self.app.display_warning(f"Only torch will compute, since the kernels did not compile: {done.stderr}")
            beside.unlink(missing_ok=True)
            return
        beside.replace(library)
        build_data["pure_python"], build_data["infer_tag"] = False, True
        build_data["artifacts"].append(str(LIBRARY))
