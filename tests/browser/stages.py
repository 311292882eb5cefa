"""Runs the named stages one after the other, in one process: the imports take longer than most of the stages."""

import importlib
import sys

from flows.stage import main

for stage in sys.argv[1:]:
    main(getattr(importlib.import_module(f"flows.{stage}"), stage), [])
