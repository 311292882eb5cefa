"""Successive deletion requests against retraining: `python -m benchmarks.sequential digits --seeds 3 --out DIR`.

A run that was stopped goes on at the first missing model; `--render` makes page and figure again from the numbers.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch

from benchmarks.sequential.course import Course
from benchmarks.sequential.ground import Ground, ground
from benchmarks.sequential.kept import Kept, Row
from benchmarks.sequential.publish import content, publish, render
from benchmarks.sequential.setting import Setting, names, read

OUT = Path("docs", "results", "sequential")
KEEP = Path("build", "sequential")


def run(setting: Setting, found: Ground, *, seeds: int, keep: Path) -> list[Row]:
    """The rows of all seeds; finished models are kept below `keep`."""
    # What is told about a study changes no model.
    settings = {
        "setting": setting.model_dump(mode="json", exclude={"title", "lesson", "notes", "params"}),
        "params": found.params.model_dump(mode="json", exclude={"data": {"root"}}),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    say = partial(print, flush=True)
    return [
        row
        for seed in range(seeds)
        for row in Course(setting, found, seed, Kept(keep / f"seed{seed}", settings=settings), say).rows()
    ]


def main(arguments: list[str] | None = None) -> None:
    """Run a study, or go on with it, and write its numbers, figure and page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sequential", description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=names())
    parser.add_argument("--seeds", type=int, default=3, help="0, 1, ...: three or more give a verdict")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of page, figure and numbers")
    parser.add_argument("--keep", type=Path, default=KEEP, help="folder of finished models")
    parser.add_argument("--root", type=Path, help="torchvision's folder, where it is not data/raw")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch; results depend on it in their last bits")
    parser.add_argument("--render", action="store_true", help="make page and figure again, from the numbers in --out")
    options = parser.parse_args(arguments)
    setting = read(options.name)
    if not options.render:
        torch.set_num_threads(options.threads)
        found = ground(setting, setting.resolved(root=options.root))
        rows = run(setting, found, seeds=options.seeds, keep=options.keep / options.name)
        publish(options.name, content(setting, found, rows, seeds=range(options.seeds)), options.out)
    render(options.name, setting, options.out)


if __name__ == "__main__":
    main()
