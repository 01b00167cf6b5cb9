"""Stand ready in the fork server, so that a new worker finds its imports and its units of measure done.

The one module that does something when it is imported: the fork server can do nothing else with it.
"""

from __future__ import annotations

import api.app  # noqa: F401 - for what it brings into memory
from adapters.emr.units import warm

__all__: list[str] = []

warm()
