"""What pyproject.toml promises, and what constraints.txt pins."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tintype
from tests.contracts.repository import PACKAGE, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(*extras: str) -> dict[str, Requirement]:
    """The core's requirements with those of some extras, by canonical name."""
    lines = PROJECT["dependencies"] + [line for extra in extras for line in EXTRAS[extra]]
    found = [Requirement(line) for line in lines if not line.startswith("tintype[")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def pins() -> dict[str, str]:
    """Name and version of each line of constraints.txt."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert not [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)], "exact versions only, none local"
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_every_package_that_is_imported_is_declared():
    declared = set(requirements(*(extra for extra in EXTRAS if extra != "dev")))
    distributions = packages_distributions()
    undeclared = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"tintype"}:
                owners = {canonicalize_name(owner) for owner in distributions.get(top, [top])}
                if not owners & declared:
                    undeclared.setdefault(top, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not undeclared


def test_every_requirement_is_pinned_within_its_range():
    pinned = pins()
    for name, requirement in requirements(*EXTRAS).items():
        assert name in pinned, f"{name} has no line in constraints.txt"
        assert requirement.specifier.contains(pinned[name]), f"{requirement}: {pinned[name]} is outside"


def test_the_core_stays_small():
    core = {"torch", "numpy", "safetensors", "tokenizers", "huggingface-hub", "pillow", "typer", "rich"}
    assert set(requirements()) == core


def test_the_version_stands_once():
    assert tintype.__version__ == PROJECT["version"]
    assert f"## [{PROJECT['version']}]" in (text := (ROOT / "CHANGELOG.md").read_text()) or "## [Unreleased]" in text


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").is_file()
