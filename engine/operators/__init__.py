"""Collect the words of the rule language, one file each: types, help, meaning and examples side by side."""

from __future__ import annotations

import importlib
import pkgutil

from engine.operators._operator import Operator

__all__ = ["OPERATORS", "Operator"]

OPERATORS: dict[str, Operator] = {}
"""Every operator by its name; a new file in this folder is found by itself."""

for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("_"):
        _operator: Operator = importlib.import_module(f"{__name__}.{_module.name}").OPERATOR
        OPERATORS[_operator.name] = _operator
