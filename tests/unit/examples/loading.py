"""Load the example programs, which are no package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

EXAMPLES = Path(__file__).parents[3] / "examples"


def load(name: str) -> Any:
    """Import an example as if the program was started: its folder is searched for modules."""
    with patch.object(sys, "path", [str(EXAMPLES), *sys.path]):
        return importlib.import_module(name)
