"""Run the snippets of one page of documentation, in the order in which a reader meets them.

``python snippets.py PAGE CLONE`` runs PAGE; CLONE is a copy of the repository with an environment that is ready. All
snippets of a page share one empty working folder, and its python blocks one namespace. Of the shell, the commands that
a reader of Tintype types are known, and every other is an error:

    git clone, cd, make image       as typed; what is cloned is CLONE
    tintype, python                 as typed
    make test, proofs, lint ...     only that the target exists
    pip install                     only that the extras exist

A block after ``<!-- not run: reason -->`` is listed and not run.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+)(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^ *(?P=fence) *$", re.M | re.S
)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^\n]+?) -->\s*\Z")
SHELL = {"sh", "bash", "shell", "console"}
SMALLEST_PICTURE = 1000  # bytes; less is no picture


@dataclass(frozen=True)
class Snippet:
    """A fenced block: its language, its text, the line on which the text begins, and why it is not run, if so."""

    language: str
    text: str
    line: int
    not_run: str | None

    @property
    def commands(self) -> list[str]:
        """The command lines of a shell block, without prompts, comments and line breaks inside a command."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":  # here the other lines are answers
            lines = [line for line in lines if line.lstrip().startswith("$ ")]
        lines = [line.strip().removeprefix("$ ").strip() for line in lines]
        return [line for line in lines if line and not line.startswith("#")]


def snippets(page: str) -> list[Snippet]:
    """The python and shell blocks of a page of Markdown."""
    found = []
    for match in FENCE.finditer(page):
        language = match["language"]
        if language not in SHELL | {"python"}:
            continue
        text = re.sub(f"^{match['indent']}", "", match["body"], flags=re.M)
        mark = NOT_RUN.search(page, 0, match.start())
        line = page.count("\n", 0, match.start("body")) + 1
        found.append(Snippet(language, text, line, mark["reason"] if mark else None))
    return found


class Shell:
    """A reader's shell: it remembers the folder that the last ``cd`` went to."""

    def __init__(self, home: Path, clone: Path) -> None:
        self.folder, self.clone = home, clone
        self.tool = clone / ".venv" / "bin"

    def run(self, command: str) -> None:
        """Run one command line; RuntimeError if it fails, ValueError if it is not known here."""
        words = shlex.split(command, comments=True)
        if "&&" in words:
            for part in command.split("&&"):
                self.run(part.strip())
            return
        match words:
            case ["git", "clone", *rest]:
                names = [word for word in rest if not word.startswith("-")]
                target = names[1] if len(names) > 1 else names[0].rstrip("/").split("/")[-1].removesuffix(".git")
                (self.folder / target).symlink_to(self.clone, target_is_directory=True)
            case ["cd", folder] if (self.folder / folder).is_dir():
                self.folder = self.folder / folder
            case ["make", *rest]:
                self.make(command, [word for word in rest if "=" not in word and not word.startswith("-")])
            case ["pip", "install", *rest] | ["python", "-m", "pip", "install", *rest]:
                self.pip_install(rest)
            case [".ci/run"]:
                if not os.access(self.clone / ".ci/run", os.X_OK):
                    raise ValueError(".ci/run cannot be executed")
            case ["tintype" | "python" | "python3", *_]:
                self.execute(command)
            case _:
                raise ValueError(f"this runner does not know the command: {command}")

    def make(self, command: str, targets: list[str]) -> None:
        """Make a picture for real; of the targets that would set up or test, only ask what they would do."""
        if not (self.folder / "Makefile").exists():
            self.folder = self.clone
        if not targets or targets == ["image"]:
            before = self.pictures()
            self.execute(command)
            if not self.pictures() - before:
                raise RuntimeError(f"no picture was written by: {command}")
        else:
            self.execute(f"make --dry-run {shlex.join(targets)} >/dev/null")

    def pictures(self) -> set[Path]:
        """The pictures in the folder and in those below it."""
        inside = (p for p in self.folder.rglob("*.png") if ".venv" not in p.parts)
        return {p for p in inside if p.stat().st_size > SMALLEST_PICTURE}

    def pip_install(self, arguments: list[str]) -> None:
        """Check that the extras which are named exist."""
        extras = tomllib.loads((self.clone / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for argument in arguments:
            named = re.fullmatch(r"(?:\.|tintype)\[([\w,]+)\]", argument)
            unknown = set(named[1].split(",")) - set(extras) if named else set()
            if unknown:
                raise ValueError(f"there is no such extra: {', '.join(sorted(unknown))}")

    def execute(self, command: str) -> None:
        """Run a command line in the folder, with the clone's environment first on the path."""
        path = f"{self.tool}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=self.folder, env=os.environ | {"PATH": path}
        )
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode} of: {command}")


def run_page(page: Path, clone: Path) -> None:
    """Run the snippets of a page in the working folder; the first that fails ends it with its place."""
    shell = Shell(Path.cwd(), clone)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for snippet in snippets(page.read_text(encoding="utf-8")):
        place = f"{page.name}:{snippet.line}"
        if snippet.not_run:
            print(f"{place}: not run: {snippet.not_run}", flush=True)
            continue
        print(f"{place}: {snippet.language}", flush=True)
        if snippet.language == "python":
            code = compile("\n" * (snippet.line - 1) + snippet.text, str(page), "exec")
            exec(code, namespace)
        else:
            for command in snippet.commands:
                shell.run(command)


def copy_of_the_repository(files: list[Path], root: Path, clone: Path) -> Path:
    """A copy of the working tree, with an environment that borrows the packages of the one that runs this."""
    for file in files:
        copy = clone / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    clone = clone.resolve()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone / ".venv"], check=True)
    (packages,) = (clone / ".venv").glob("lib/python*/site-packages")
    borrowed = [path for path in sys.path if path.endswith("-packages")]
    (packages / "tintype.pth").write_text("\n".join([str(clone), *borrowed]) + "\n")
    entry = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]["tintype"]
    module, name = entry.split(":")
    script = clone / ".venv/bin/tintype"
    script.write_text(f"#!{clone}/.venv/bin/python\nimport sys\nfrom {module} import {name}\n\nsys.exit({name}())\n")
    script.chmod(0o755)
    for stamp in (".core", ".dev"):
        (clone / ".venv" / stamp).write_text(f"{clone}\n")
    return clone


if __name__ == "__main__":
    with contextlib.suppress(ValueError):  # the clone's tintype, not what lies beside this file
        sys.path.remove(str(Path(__file__).parent))
    run_page(Path(sys.argv[1]), Path(sys.argv[2]))
