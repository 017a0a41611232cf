"""Clips in and out: frames as arrays, with their sound and their time stamps as they were. By PyAV, without torch."""

from .files import READ, Clip, change, check_output, is_clip, look_at

__all__ = ["READ", "Clip", "change", "check_output", "is_clip", "look_at"]
