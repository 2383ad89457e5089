"""What can go wrong for a user, as types. Each message says what was got, what was expected and what to do."""


class TintypeError(Exception):
    """The parent of every error that Tintype raises on purpose; the command line prints it without a traceback."""


class SettingsError(TintypeError, ValueError):
    """A generation setting that cannot be: a size off the grid, an unknown sampler, no step left to run."""


class ImageError(TintypeError, ValueError):
    """A picture that cannot be read or does not fit."""


class CheckpointError(TintypeError):
    """A model's file or folder that is missing, damaged, incomplete or of a kind that is not supported."""


class NotFiniteError(TintypeError, ArithmeticError):
    """NaN or infinity in a tensor. ``stage`` names where it was first seen: "text encoder", "unet", ..."""

    def __init__(self, stage: str, advice: str) -> None:
        self.stage = stage
        super().__init__(f"NaN or infinity in the output of the {stage}. {advice}")


class MissingExtraError(TintypeError, ImportError):
    """An optional dependency is not installed; the message gives the line that installs it."""


class TrainingError(TintypeError):
    """Training that cannot go on: no data, a damaged state, a loss that is not finite time after time."""
