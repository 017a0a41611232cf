"""Visual instruction inversion (arXiv 2307.14331): learn a few instruction rows from before/after pairs."""

from .loop import Step, invert, invert_steps, learning_advice, little_learned
from .settings import InversionSettings, learning_rate_at

__all__ = [
    "InversionSettings",
    "Step",
    "invert",
    "invert_steps",
    "learning_advice",
    "learning_rate_at",
    "little_learned",
]
