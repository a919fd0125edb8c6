"""What the package costs, measured; and what it promises, counted."""

from __future__ import annotations

SPACING = 5
"""Seconds between two fires of the job ``paired``."""
