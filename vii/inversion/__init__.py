"""Visual instruction inversion (arXiv 2307.14331): learn a few instruction rows from before/after pairs."""

from .loop import LOW_EXPLAINED, Step, invert, invert_steps, learning_advice
from .settings import InversionSettings, learning_rate_at

__all__ = [
    "LOW_EXPLAINED",
    "InversionSettings",
    "Step",
    "invert",
    "invert_steps",
    "learning_advice",
    "learning_rate_at",
]
