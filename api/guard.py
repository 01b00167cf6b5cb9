"""Refuse to start when a stranger's package stands where one of our folders should.

Our top-level names are generic (``models``, ``rules`` …). A foreign wheel with the same name can win over an
editable install, or overwrite files of an installed one, and ``pip check`` sees nothing of it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["DISTRIBUTION", "PACKAGES", "ForeignPackage", "ensure_ours", "strangers"]

DISTRIBUTION = "ruleward"
PACKAGES = ("rules", "engine", "adapters", "models", "api")
ROOT = Path(__file__).resolve().parent.parent


class ForeignPackage(ImportError):
    """One of our folders is not ours alone, or is imported from somewhere else."""


def strangers(
    owners: Mapping[str, Iterable[str]], origins: Mapping[str, str | None], root: Path
) -> tuple[str, ...]:
    """Return one sentence a fault; none means that every package is ours.

    ``owners`` maps a top-level name to the distributions that claim it, ``origins`` to the file from which it
    is imported, ``root`` is the folder that must hold them all: the checkout, or site-packages.
    """
    faults = []
    for package in PACKAGES:
        foreign = sorted({owner for owner in owners.get(package, ()) if owner.lower() != DISTRIBUTION})
        if foreign:
            faults.append(
                f"`{package}` also belongs to the distribution {', '.join(foreign)}: "
                f"`pip uninstall {' '.join(foreign)}` here, then install ruleward again."
            )
        expected = root / package / "__init__.py"
        origin = origins.get(package)
        if origin is None:
            faults.append(f"`{package}` cannot be imported: expected {expected}. Install ruleward again.")
        elif Path(origin).resolve() != expected.resolve():
            faults.append(
                f"`{package}` is imported from {origin}, not from {expected}: "
                "run in an environment that holds ruleward alone."
            )
    return tuple(faults)


def ensure_ours() -> None:
    """Raise :class:`ForeignPackage`, with all faults at once, unless our folders are ours alone."""
    specs = {package: importlib.util.find_spec(package) for package in PACKAGES}
    origins = {package: spec.origin if spec else None for package, spec in specs.items()}
    faults = strangers(importlib.metadata.packages_distributions(), origins, ROOT)
    if faults:
        raise ForeignPackage("\n".join(faults))
