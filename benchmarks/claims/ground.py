"""What the claims share: a run's folder with drawn scenes of 64x64, unseen scenes to measure on, results as JSON."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tintype.scenes import Scene, complete
from tintype.training import Chain
from tintype.training.card import UNSEEN_SEED
from tintype.training.loop import Training
from tintype.training.pictures import scene_of
from tintype.training.recipes import TINY

PICTURES = 12_288
NEVER = 10**12  # pictures between states

RECIPE = replace(TINY, pictures=PICTURES)


def arguments(doc: str) -> argparse.Namespace:
    """Where to work, where to write, what to multiply the length of every training by."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--folder", type=Path, default=Path("runs/claims"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--length", type=float, default=1.0, help="of every training, as a part of the usual")
    found = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return found


def ground(folder: Path) -> Chain:
    """The run with its pictures and tokenizer, made where they are not there yet."""
    chain = Chain(RECIPE, folder)
    list(chain.draw_pictures())
    chain.tokenizer()
    return chain


def unseen(count: int, series: int = 0) -> list[Scene]:
    """Scenes that nothing was trained on, no two with the same caption."""
    found: dict[str, Scene] = {}
    for index in range(3 * count):
        scene = scene_of(UNSEEN_SEED + 1 + series, index, RECIPE.vocabulary)
        found.setdefault(complete(scene), scene)
    return list(found.values())[:count]


def seconds_of(training: Training) -> float:
    """Train to the end; processor time."""
    started = time.process_time()
    for _ in training:
        pass
    return time.process_time() - started


class Results:
    """Measured rows, by a key each, kept in a file as they come: what is there is not measured again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}

    def add(self, key: str, row: dict[str, Any]) -> None:
        """Keep a row."""
        self.rows[key] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.rows, indent=1) + "\n")
        print(key, json.dumps(row), flush=True)


def afresh(folder: Path) -> Path:
    """An empty place."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder
