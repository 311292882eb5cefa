"""What a training step gains where the process keeps the memory that it frees (`qunlearn.memory`).

A setting of the C library cannot be undone, so each measurement has a process of its own, and the two kinds take turns:
in each round one process that keeps what it frees and one that leaves glibc's allocator as it comes. A step is a
forward and backward pass in training mode and SGD; the figure of a process is the median over its steps.

Printed for each network: seconds and page faults of a step, the most memory the process ever held, and the ratio of the
seconds within a round, as the median over rounds with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.qat_step import context
from qunlearn.config import ModelConfig, QuantizationConfig
from qunlearn.memory import freed_memory_kept
from qunlearn.models import build
from qunlearn.quantization import quantize

CLASSES, IMAGE_SIZE = 10, 32
WARM_UP = 4
"""Steps before any is measured: the first ones find the places that later ones use again."""
NETS = {"resnet8": 256, "resnet18": 64}
"""And the images of a batch."""


def measure(net: str, *, batch: int, steps: int, kept: bool) -> dict[str, float]:
    """Median seconds and page faults of a step in this process, and its highest resident set in MB (10^6 bytes)."""
    model = build(ModelConfig(name=net), classes=CLASSES, channels=3, image_size=IMAGE_SIZE, seed=0)
    model = quantize(model, QuantizationConfig()).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn((batch, 3, IMAGE_SIZE, IMAGE_SIZE), generator=generator)
    labels = torch.randint(CLASSES, (batch,), generator=generator)
    seconds, faults = [], []
    with freed_memory_kept() if kept else nullcontext():
        for step in range(WARM_UP + steps):
            started, before = time.perf_counter(), _faults()
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            if step >= WARM_UP:
                seconds.append(time.perf_counter() - started)
                faults.append(_faults() - before)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"seconds": statistics.median(seconds), "faults": statistics.median(faults), "megabytes": most}


def compare(net: str, *, batch: int, rounds: int, steps: int) -> dict[str, Any]:
    """Both kinds of process in turns."""
    found: dict[str, list[dict[str, float]]] = {"kept": [], "as it comes": []}
    for turn in range(rounds):
        for kind in sorted(found, reverse=turn % 2 == 0):
            found[kind].append(_in_a_process(net, batch=batch, steps=steps, kept=kind == "kept"))
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(found["kept"], found["as it comes"], strict=True)]
    figures = {
        kind: {name: statistics.median(one[name] for one in all_) for name in all_[0]} for kind, all_ in found.items()
    }
    ratio = {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
    return {"net": net, "batch": batch, **figures, "ratio": ratio}


def _in_a_process(net: str, *, batch: int, steps: int, kept: bool) -> dict[str, float]:
    chosen = ["--one", "kept" if kept else "as it comes", "--nets", net, "--batch", str(batch), "--steps", str(steps)]
    command = [sys.executable, "-m", "benchmarks.kept_memory", *chosen]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _print_table(result: dict[str, Any]) -> None:
    print(f"\n{result['net']}, batches of {result['batch']}")
    for kind in ("as it comes", "kept"):
        row = result[kind]
        costs = f"{row['faults']:10,.0f} page faults {row['megabytes']:8,.0f} MB at most"
        print(f"  {kind:12}{row['seconds']:8.3f} s {costs}")
    ratio = result["ratio"]
    print(f"  seconds, kept / as it comes: {ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})")


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kept_memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each kind (%(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="steps measured in each process (%(default)s)")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--batch", type=int, help=f"images in a batch instead of {NETS}")
    parser.add_argument("--one", choices=("kept", "as it comes"), help="measure the first net in this process, as JSON")
    options = parser.parse_args(arguments)
    for name in ("rounds", "steps"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)}: 1 or more")
    if options.batch is not None and options.batch < 2:
        parser.error(f"--batch {options.batch}: BatchNorm needs 2 images or more")
    batches = {net: options.batch or NETS[net] for net in options.nets}
    if options.one:
        net, batch = next(iter(batches.items()))
        print(json.dumps(measure(net, batch=batch, steps=options.steps, kept=options.one == "kept")))
        return
    results = []
    for net, batch in batches.items():
        results.append(compare(net, batch=batch, rounds=options.rounds, steps=options.steps))
        if not options.json:
            _print_table(results[-1])
    if options.json:
        settings = {"rounds": options.rounds, "steps": options.steps}
        print(json.dumps({"context": context(), "settings": settings, "results": results}, indent=2))


if __name__ == "__main__":
    main()
