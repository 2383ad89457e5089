"""Every command and every line of Python that the documentation shows is run, so that none of it can grow old."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.contracts.repository import ROOT, files
from tests.contracts.snippets import Shell, copy_of_the_repository, snippets

RUNNER = Path(__file__).with_name("snippets.py")
ALWAYS = [ROOT / "README.md", ROOT / "docs/tour.md"]
# Decisions and the log are records of their day; they are not kept running.
PAGES = [p for p in files() if p.suffix == ".md" and p.relative_to(ROOT).parts[0] in {"README.md", "docs", "examples"}]
PAGES = [p for p in PAGES if "decisions" not in p.parts and p.name != "log.md" and snippets(p.read_text())]
SLOW = {"training.md", "illustrate.md", "checkpoints.md", "pictures-that-remember.md"}
"""Four minutes together, most of it commands that other tests run too: `make proofs` runs them."""


@pytest.fixture(scope="session")
def clone(tmp_path_factory) -> Path:
    return copy_of_the_repository(files(), ROOT, tmp_path_factory.mktemp("clone") / "tintype")


def run_page(page: Path, clone: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    python = clone / ".venv/bin/python"
    return subprocess.run([python, RUNNER, page, clone], cwd=folder, capture_output=True, text=True, timeout=600)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.proof if page.name in SLOW else ()) for page in PAGES],
    ids=[str(page.relative_to(ROOT)) for page in PAGES],
)
def test_the_snippets_of_a_page_run(page, clone, tmp_path):
    result = run_page(page, clone, tmp_path)
    print(result.stdout)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


@pytest.mark.parametrize("page", ALWAYS, ids=lambda page: page.name)
def test_the_pages_that_everybody_reads_have_snippets(page):
    assert page in PAGES


def test_the_readme_shows_the_two_commands_and_nothing_that_is_not_run():
    shown = snippets((ROOT / "README.md").read_text())
    commands = [command for snippet in shown if snippet.language != "python" for command in snippet.commands]
    assert any(command.startswith("make image") for command in commands)
    assert any(command.startswith("make test") for command in commands)
    assert any(snippet.language == "python" for snippet in shown)
    assert not [(snippet.line, snippet.not_run) for snippet in shown if snippet.not_run]


PAGE = """
```sh
# a comment
git clone https://example.org/someone/tintype.git && cd tintype
make image PROMPT="a \\
  boat"    # and another
```
```text
nobody runs this
```
<!-- not run: it takes a night -->
```python
raise SystemExit
```
  ```console
  $ tintype --help
  Usage: ...
  ```
"""


def test_snippets_are_found_with_their_lines_and_marks():
    shell, late, console = snippets(PAGE)
    assert [s.line for s in (shell, late, console)] == [3, 13, 16]
    assert shell.commands[1] == 'make image PROMPT="a    boat"    # and another'
    assert (shell.not_run, late.not_run) == (None, "it takes a night")
    assert console.commands == ["tintype --help"]


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n", "line 6"),
        ("```sh\npython -c 'raise SystemExit(3)'\n```\n", "exit status 3"),
        ("```sh\nmake no-such-target\n```\n", "no-such-target"),
        ("```sh\npip install '.[kitchen]'\n```\n", "kitchen"),
        ("```sh\nrm -rf somewhere\n```\n", "does not know"),
    ],
)
def test_a_snippet_that_fails_is_seen(page, complaint, clone, tmp_path):
    (tmp_path / "page.md").write_text(page)
    result = run_page(tmp_path / "page.md", clone, tmp_path)
    assert result.returncode != 0
    assert complaint in result.stderr


def test_the_snippets_of_a_page_share_folder_and_names(clone, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nimport tintype\nopen('a', 'w').write(tintype.__file__)\n```\n"
        "```sh\ngit clone https://example.org/tintype\ncd tintype && make test\n```\n"
        "```python\nassert open('a').read() == tintype.__file__\n```\n"
    )
    result = run_page(page, clone, tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "a").read_text() == str(clone / "tintype/__init__.py")


def test_the_shell_goes_nowhere_that_is_not_there(clone, tmp_path):
    with pytest.raises(ValueError, match="does not know"):
        Shell(tmp_path, clone).run("cd nowhere")
