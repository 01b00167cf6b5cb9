"""What experts write: data, no code. The one constant says where it lies."""

from pathlib import Path
from typing import Final

__all__ = ["FOLDER"]

FOLDER: Final = Path(__file__).parent
"""The folder that holds the rulesets, ``knowledge/`` and ``parameters/``."""
