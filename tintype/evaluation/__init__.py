"""What a trained model can do, measured: each figure beside a baseline, with its interval."""

from tintype.evaluation.evaluation import FAST, THOROUGH, Effort, Evaluation
from tintype.evaluation.examined import Examined, examine
from tintype.evaluation.figures import Figure, Report, Tick
from tintype.evaluation.page import add_to_card, markdown, write_page
from tintype.evaluation.reader import Judge, load_judge, read

__all__ = [
    "FAST",
    "THOROUGH",
    "Effort",
    "Evaluation",
    "Examined",
    "Figure",
    "Judge",
    "Report",
    "Tick",
    "add_to_card",
    "examine",
    "load_judge",
    "markdown",
    "read",
    "write_page",
]
