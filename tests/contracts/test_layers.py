"""The rows of the house: who may import whom. The contract itself stands in pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib

import pytest

from tests.contracts.repository import PACKAGE, ROOT

ROWS = [
    "cli",
    "studio",
    "illustrate",
    "evaluation",
    "training",
    "checkpoints",
    "pipeline",
    "adapters speed",
    "text",
    "layouts",
    "models diffusion images scenes",
    "types errors lazy version",
]
BUILT = ["cli", "training", "checkpoints", "pipeline", "text", "layouts", "models", "diffusion", "images", "scenes"]
ABOVE_ALL_ROWS = {"__init__.py", "__main__.py", "cli"}  # these, and the studio, may import the public face


def lint_imports(*arguments: str, folder=ROOT) -> subprocess.CompletedProcess[str]:
    script = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    command = [sys.executable, "-c", script, "--no-cache", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_modules_import_only_from_lower_rows():
    result = lint_imports()
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_contract_is_the_design():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = next(contract for contract in contracts if contract["id"] == "rows")
    assert [" ".join(name.strip(" ()") for name in row.split("|")) for row in rows["layers"]] == ROWS
    assert rows["exhaustive"]
    oracles = next(contract for contract in contracts if contract["id"] == "oracles")
    assert set(oracles["forbidden_modules"]) >= {"diffusers", "transformers", "open_clip"}


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("types.py", "from tintype import errors"),  # two names on one row
        ("diffusion/plan.py", "from tintype.models import unet"),  # two rooms on one row
        ("text/prompt.py", "def late():\n    from tintype.pipeline import settings"),  # upwards, and lazily
        ("models/unet.py", "import diffusers"),  # an oracle
        ("kitchen.py", "pass"),  # a room that the design does not know
    ],
)
def test_the_contract_can_be_broken(tmp_path, room, line):
    for name in [
        "models/unet.py",
        "diffusion/plan.py",
        "text/prompt.py",
        "pipeline/settings.py",
        "types.py",
        "errors.py",
        "lazy.py",
    ]:
        file = tmp_path / "tintype" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        (file.parent / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    good = lint_imports(folder=tmp_path)
    assert good.returncode == 0, good.stdout + good.stderr
    (tmp_path / "tintype" / room).write_text(line + "\n")
    assert lint_imports(folder=tmp_path).returncode == 1


def test_the_rooms_of_the_design_stand():
    missing = [
        room for room in BUILT if not any(p.exists() for p in (PACKAGE / room / "__init__.py", PACKAGE / f"{room}.py"))
    ]
    assert not missing, f"rooms of the design that are not there: {missing}"


def test_no_room_imports_the_public_face():
    """The package's own __init__ offers what the rooms hold, so a room that imports it would import upwards unseen."""
    names_of_the_face = set()
    for path in PACKAGE.rglob("*.py"):
        within = path.relative_to(PACKAGE)
        if within.parts[0] in ABOVE_ALL_ROWS | {"studio"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import) and any(alias.name == "tintype" for alias in node.names):
                names_of_the_face.add(f"{within}:{node.lineno}")
            if isinstance(node, ast.ImportFrom) and node.module == "tintype":
                rooms = {p.stem for p in PACKAGE.iterdir()}
                if any(alias.name not in rooms for alias in node.names):
                    names_of_the_face.add(f"{within}:{node.lineno}")
    assert not names_of_the_face
