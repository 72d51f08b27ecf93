"""What several test folders share."""

from __future__ import annotations

from pathlib import Path

SHARED = Path(__file__).resolve().parents[3] / "shared"
"""Real pages that stand beside the project where it is developed; absent elsewhere."""
