"""What must not stand in a file of the repository."""

from __future__ import annotations

import ast
import re
import textwrap

import pytest

from tests.contracts.repository import PACKAGE, ROOT, files

# Calls that can run what a file says. A subclass of pickle.Unpickler that rebuilds only tensors is no call of these.
RUNS_CODE = {
    *("eval", "exec", "compile", "__import__"),
    *("torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "_pickle.load", "_pickle.loads", "_pickle.Unpickler"),
    *("dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads", "joblib.load", "shelve.open"),
    *("marshal.load", "marshal.loads", "numpy.load", "pandas.read_pickle"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"),
    *("os.system", "os.popen", "subprocess.getoutput"),
}
# numpy.load reads no pickles unless asked to; it may be called with these words only.
NUMPY_IS_FINE = {"mmap_mode"}

LONG_FILES: dict[str, str] = {}  # "models/unet.py": "the reason why it is longer than 400 lines"


def dangerous_calls(source: str) -> list[tuple[int, str]]:
    """Line and full name of each call in RUNS_CODE, whatever the module or the function was renamed to on import."""
    tree = ast.parse(source)
    known_as = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                known_as[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            known_as |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}

    def full_name(node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return known_as.get(node.id, node.id)
        if isinstance(node, ast.Attribute) and (owner := full_name(node.value)):
            return f"{owner}.{node.attr}"
        return None

    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = full_name(node.func)
        words = {keyword.arg for keyword in node.keywords}
        if name == "numpy.load" and words <= NUMPY_IS_FINE and len(node.args) == 1:
            continue
        if name in RUNS_CODE or "allow_pickle" in words or "trust_remote_code" in words:
            found.append((node.lineno, name or "?"))
        elif name and name.startswith("subprocess.") and "shell" in words:
            found.append((node.lineno, f"{name}(shell=...)"))
    return found


def test_no_file_that_is_read_can_run_code():
    calls = {str(p.relative_to(ROOT)): dangerous_calls(p.read_text()) for p in PACKAGE.rglob("*.py")}
    assert not {path: found for path, found in calls.items() if found}


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load('a.ckpt')",
        "import torch as t\nt.load('a.ckpt', weights_only=True)",
        "from torch import load as read\nread('a.ckpt')",
        "import pickle\npickle.load(open('a', 'rb'))",
        "from pickle import Unpickler\nUnpickler(file).load()",
        "import torch.jit\ntorch.jit.load('a')",
        "import numpy as np\nnp.load('a.npy', allow_pickle=True)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "def f(x):\n    return eval(x)",
        "import subprocess\nsubprocess.run(line, shell=True)",
    ],
)
def test_each_way_to_run_code_is_seen(source):
    assert dangerous_calls(source)


def test_harmless_calls_are_not_taken_for_dangerous():
    source = """
        import json, re, numpy as np
        from safetensors.torch import load_file
        model.eval(); json.load(file); np.load("a.npy"); load_file("a"); re.compile("a"); model.compile()
        class Restricted(pickle.Unpickler): ...
        Restricted(file).load()
    """
    assert not dangerous_calls(textwrap.dedent(source))


# Places of one machine, and sources of packages: both make a repository work in one place only.
ELSEWHERE = {
    "a path of one machine": re.compile(r"(?<![\w.:/}~)-])/(?:home|Users|root|work|mnt|srv|scratch|data|opt)/[\w.-]+"),
    "a path of one machine, Windows": re.compile(r"\b[A-Z]:\\\\?(?:Users|home)\b"),
    "a package index": re.compile(
        r"--(?:extra-)?index-url|(?:EXTRA_)?INDEX_URL\s*=|files\.pythonhosted|/whl/cpu|://[\w.-]*pypi"
    ),
    "a place of packages": re.compile(r"--find-links[ =]\S*(?:://|/\w+/\w+)|--trusted-host"),
}
TEXT = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".cfg", ".ini", ".sh", ".html", ".css", ".js", ""}


def test_nothing_names_a_machine_or_a_package_index():
    found = []
    for path in files():
        if path.suffix not in TEXT or path.name in {"LICENSE", "merges.txt", "vocab.json", "tokenizer.json"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found += [
                f"{path.relative_to(ROOT)}:{number}: {what}" for what, sign in ELSEWHERE.items() if sign.search(line)
            ]
    assert not [place for place in found if not place.startswith("tests/contracts/test_sources.py:")]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("cd /home/someone/tintype", "a path of one machine"),
        ('ROOT = "/work/main"', "a path of one machine"),
        (r'p = "C:\Users\me"', "a path of one machine, Windows"),
        ("pip install torch --index-url https://example.org/simple", "a package index"),
        ("https://pypi.example.org/simple/torch", "a package index"),
        ("pip install --find-links=/var/cache/wheels torch", "a place of packages"),
    ],
)
def test_each_such_name_is_seen(line, what):
    assert ELSEWHERE[what].search(line)


@pytest.mark.parametrize(
    "line", ["https://example.org/home/page", "tests/data/cat.png", "./work/x", "#!/bin/sh", "~/data/a"]
)
def test_ordinary_paths_are_left_alone(line):
    assert not [what for what, sign in ELSEWHERE.items() if sign.search(line)]


def test_a_file_fits_in_the_head():
    lengths = {p.relative_to(PACKAGE).as_posix(): len(p.read_text().splitlines()) for p in PACKAGE.rglob("*.py")}
    too_long = {name: lines for name, lines in lengths.items() if lines > 400 and name not in LONG_FILES}
    assert not too_long, f"over 400 lines, without a reason in LONG_FILES: {too_long}"
    assert not [name for name in LONG_FILES if lengths.get(name, 0) <= 400], "reasons that are no longer needed"


def test_the_documents_of_the_repository_are_there():
    for name in [
        "README.md",
        "LICENSE",
        "NOTICE",
        "CHANGELOG.md",
        "Makefile",
        ".ci/run",
        "docs/tour.md",
        "docs/log.md",
    ]:
        assert (ROOT / name).is_file(), name
    assert (ROOT / ".ci/run").stat().st_mode & 0o111, ".ci/run is not executable"
