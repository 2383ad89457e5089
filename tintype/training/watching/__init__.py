"""Looking at a training while it runs, from outside: sheets of pictures, curves, a page, where it came from.

    for progress in watched(training, [SheetDrawer(sheet, Moments(every=2_000)), PageWriter(folder)]):
        print(progress.loss)

The training itself is as it would be unwatched, bit for bit.
"""

from tintype.training.watching.events import EventWriter
from tintype.training.watching.page import PageWriter, write_run_page
from tintype.training.watching.provenance import ProvenanceKeeper, read_chain_recipe
from tintype.training.watching.sheets import Paintings, Reconstructions, Sheet, Similarities, first_captions, sheet_of
from tintype.training.watching.watcher import Moments, SheetDrawer, Watcher, watched

__all__ = [
    "EventWriter",
    "Moments",
    "PageWriter",
    "Paintings",
    "ProvenanceKeeper",
    "Reconstructions",
    "Sheet",
    "SheetDrawer",
    "Similarities",
    "Watcher",
    "first_captions",
    "read_chain_recipe",
    "sheet_of",
    "watched",
    "write_run_page",
]
