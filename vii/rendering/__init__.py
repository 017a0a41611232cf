"""Watching learning go on, from the steps that `vii.invert_steps` yields."""

from .curve import learning_curve
from .event_log import EventLog
from .preview import Preview

__all__ = ["EventLog", "Preview", "learning_curve"]
