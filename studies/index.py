"""`docs/results/README.md`: all studies, those with results and those that nobody has run yet."""

from __future__ import annotations

from pathlib import Path

from studies.overlay import names, read
from tasks.files import write_text

BEFORE = """\
# Results

Each study is a file in `studies/` that lays parameters over `params.yaml`, one set or several *arms*; `make study
NAME=<name>` runs it and writes its page, figures and numbers here. Stopped half-way, the same command goes on. Beside
each page lies the complete evaluation of every arm: every metric of every cell, the resolved parameters, versions and
hardware.

| study | what | arms | result |
|---|---|---|---|
"""
AFTER = """
Deletion requests one after the other, unlearned or retrained, with and without `max_sequential`, made by `python -m
benchmarks.sequential`: [digits](sequential/digits.md), [Fashion-MNIST](sequential/fashion.md).

Wall times of these runs were taken on a machine that had other work; compare methods by the samples they process
(`work_ratio`).
"""


def index(folder: Path) -> str:
    """The text of the page, for the results that lie in `folder`."""
    lines = []
    for name in names():
        study = read(name)
        result = f"[page]({name}.md)" if (folder / f"{name}.md").is_file() else "not yet run"
        lines.append(f"| {name} | {study.title} | {', '.join(study.arms)} | {result} |")
    return BEFORE + "\n".join(lines) + "\n" + AFTER


def write_index(folder: Path) -> Path:
    path = folder / "README.md"
    write_text(path, index(folder))
    return path
