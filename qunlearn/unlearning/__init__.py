"""Unlearning: objective -> direction -> mask -> optimizer, and the methods made of them.

Importing this package registers every file in `methods/`.
"""

from __future__ import annotations

import importlib
import pkgutil

from qunlearn.unlearning import registry as _registry
from qunlearn.unlearning.grid import Candidate, Choice, choices, resolve
from qunlearn.unlearning.problem import Data, DataAccessError, Problem
from qunlearn.unlearning.registry import Method, Result, get, register, run

for _file in pkgutil.iter_modules([f"{folder}/methods" for folder in __path__]):
    importlib.import_module(f"{__name__}.methods.{_file.name}")

# Bound last, since importing the folder `methods` binds its own name here.
methods = _registry.methods

__all__ = [
    "Candidate",
    "Choice",
    "Data",
    "DataAccessError",
    "Method",
    "Problem",
    "Result",
    "choices",
    "get",
    "methods",
    "register",
    "resolve",
    "run",
]
