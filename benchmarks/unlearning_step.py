"""What a step of an unlearning method costs beside the plain forward and backward passes that it contains.

    step                       beside                                                                   at most
    oeu                        a pass over the forget and one over the retain batch                      1.10
    oeu, `scope: layer`        the same                                                                    -
    two_phase, phase 2         a pass over the adjacent, one over the forget and one over the remote     1.15
    neg_grad_plus, `optimal`   its step without the mask, on the small net                               1.25

A step has everything that a method does for one batch of each set: reading the images, the gradients, direction, mask,
optimizer, the guard of the scales, statistics. What comes once an epoch is not part of it. A pass is the method's
forward and `backward()` on the same 4-bit network in evaluation mode, with images that are ready.

All variants take turns within each round, in a shuffled order, so that a change in the machine's load hits all of them;
a figure is the median over rounds of the ratio within the round, with its quartiles. The nets are ResNet-18 with the
stem for small images, whose 11 million parameters are what a step has to move, and a ResNet-8, where there are few;
images are 32 x 32 noise. What a step does to the parameters costs the same whatever the batch: the ResNet-18 comes with
small batches and with half the 256 images that methods take unless they are told otherwise.

As in a task, the process keeps the memory that it frees (`qunlearn.memory`). Where it does not, passes and steps pay
for getting it again page by page, and which variant pays more depends on what the others left.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.qat_step import context
from qunlearn.config import ModelConfig, QuantizationConfig, TrainingConfig
from qunlearn.data.batches import ImagePool, Transform
from qunlearn.memory import freed_memory_kept
from qunlearn.models import build
from qunlearn.quantization import quantize
from qunlearn.unlearning import Data, Problem, get, resolve
from qunlearn.unlearning.recorder import Recorder

CLASSES, IMAGE_SIZE = 10, 32
PARTS = ("forget", "adjacent", "remote")
WARM_UP = 2
"""Rounds before any is timed."""


@dataclass(frozen=True)
class Net:
    """A network, the width of one that has a choice, and the images in a batch of each set."""

    name: str
    width: int
    batch: int


@dataclass(frozen=True)
class Comparison:
    """One row: two variants, the largest ratio that is accepted, None for any, and the nets that the limit is for."""

    step: str
    beside: str
    limit: float | None
    nets: tuple[str, ...] = ("resnet18", "resnet8")


COMPARISONS = (
    Comparison("oeu", "two passes", 1.10),
    Comparison("oeu by layer", "two passes", None),
    Comparison("two_phase, phase 2", "three passes", 1.15),
    Comparison("neg_grad_plus", "two passes", None),
    Comparison("neg_grad_plus under optimal", "neg_grad_plus", 1.25, nets=("resnet8",)),
)


def methods(batch: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Method and settings of each variant that is one; the rates are so small that nothing diverges."""
    plain: dict[str, Any] = {"batch_size": batch, "augment": False, "learning_rate": 1e-6}
    sizes = {f"{part}_batch_size": batch for part in PARTS}
    return {
        "oeu": ("oeu", plain),
        "oeu by layer": ("oeu", {**plain, "scope": "layer"}),
        "two_phase, phase 2": ("two_phase", {"phase1": {"epochs": 0}, "phase2": {**sizes, "batch_limit": 1}}),
        "neg_grad_plus": ("neg_grad_plus", plain),
        "neg_grad_plus under optimal": ("neg_grad_plus", {**plain, "mask": "optimal"}),
    }


def make_problem(net: Net, *, steps: int, device: str) -> tuple[nn.Module, Problem]:
    """A 4-bit network in evaluation mode, and sets of noise: one batch to forget, and epochs of more than `steps`."""
    sizes = {"forget": net.batch, "adjacent": (steps + 1) * net.batch, "remote": (steps + 1) * net.batch}
    generator = torch.Generator().manual_seed(0)
    shape = (sum(sizes.values()), 3, IMAGE_SIZE, IMAGE_SIZE)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.randint(CLASSES, shape[:1], generator=generator)
    transform = Transform(mean=(0.5,) * 3, std=(0.25,) * 3)
    pool = ImagePool(images.to(device), labels.to(device), transform, classes=CLASSES)
    forget, adjacent, remote = torch.arange(len(pool)).split(list(sizes.values()))
    config = ModelConfig(name=net.name, width=net.width)
    model = build(config, classes=CLASSES, channels=3, image_size=IMAGE_SIZE, seed=0)
    model = quantize(model, QuantizationConfig()).to(device)
    model(pool.batch(remote[: max(2, net.batch)])[0])  # scales and statistics come from a first batch
    problem = Problem(
        pool=pool,
        forget=forget,
        retain=torch.cat([adjacent, remote]),
        validation=forget[:0],
        fresh=lambda: model,
        recipe=TrainingConfig(),
        adjacent=adjacent,
    )
    return model.eval(), problem


class Ended(BaseException):
    """Ends a piece of work from within."""


class StepByStep(AbstractContextManager["StepByStep"]):
    """Work in a thread of its own that stops after each step until it is called again.

    Args:
        work: is given a function that it calls after each step, and has more steps than are asked for.
    """

    def __init__(self, work: Callable[[Callable[[], None]], None]) -> None:
        self._go_on, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._ending = False
        self._error: Exception | None = None
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def __call__(self) -> None:
        """Go on to the end of the next step.

        Raises:
            Exception: whatever the work raised.
        """
        self._go_on.release()
        self._stopped.acquire()
        if self._error is not None:
            raise self._error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        if self._error is None:
            self._go_on.release()
            self._stopped.acquire()

    def _run(self, work: Callable[[Callable[[], None]], None]) -> None:
        try:
            self._wait()
            work(self._pause)
            raise RuntimeError("the work ended before it was asked to")
        except Ended:
            pass
        except Exception as error:  # noqa: BLE001  # told in the thread that waits
            self._error = error
        self._stopped.release()

    def _pause(self) -> None:
        self._stopped.release()
        self._wait()

    def _wait(self) -> None:
        self._go_on.acquire()
        if self._ending:
            raise Ended


def method_steps(name: str, settings: dict[str, Any], model: nn.Module, problem: Problem) -> StepByStep:
    """The steps of a method with settings as in `params.yaml`."""
    method, config = get(name), resolve({name: settings})[name]

    def work(pause: Callable[[], None]) -> None:
        class Pausing(Recorder):
            def step(self, *_: Any) -> None:
                pause()

        recorder = Pausing(sizes={"forget": 1, "retain": 1}, measure=lambda _: {})
        data = Data(problem, model, needs=method.needs, owner=name)
        method.unlearn(data, config, seed=0, recorder=recorder)

    return StepByStep(work)


def passes(model: nn.Module, problem: Problem, *, parts: tuple[str, ...], batch: int) -> StepByStep:
    """Steps of a forward and a backward pass over a batch of each of the parts.

    In a thread like the methods' steps, since memory comes from different places for threads.
    """
    batches = [problem.pool.batch(getattr(problem, part)[:batch]) for part in parts]

    def work(pause: Callable[[], None]) -> None:
        own = copy.deepcopy(model)
        while True:
            for inputs, labels in batches:
                own.zero_grad()
                F.cross_entropy(own(inputs), labels).backward()
            pause()

    return StepByStep(work)


def measure(net: Net, *, rounds: int, device: str) -> dict[str, Any]:
    """All comparisons on one network."""
    model, problem = make_problem(net, steps=rounds + WARM_UP, device=device)
    variants = {
        "two passes": passes(model, problem, parts=("forget", "remote"), batch=net.batch),
        "three passes": passes(model, problem, parts=PARTS, batch=net.batch),
    }
    for name, (method, settings) in methods(net.batch).items():
        variants[name] = method_steps(method, settings, model, problem)
    with freed_memory_kept(), ExitStack() as running:
        for variant in variants.values():
            running.enter_context(variant)
        seconds = take_turns(variants, rounds=rounds, device=device)
    rows = [
        {
            "step": row.step,
            "beside": row.beside,
            "limit": row.limit if net.name in row.nets else None,
            "seconds": statistics.median(seconds[row.step]),
            "ratio": _quartiles([a / b for a, b in zip(seconds[row.step], seconds[row.beside], strict=True)]),
        }
        for row in COMPARISONS
    ]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"net": net.name, "batch": net.batch, "parameters": parameters, "device": device, "rows": rows}


def take_turns(variants: Mapping[str, Callable[[], None]], *, rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each variant in each round, after rounds of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    shuffle = torch.Generator().manual_seed(0)
    for turn in range(-WARM_UP, rounds):
        # Shuffled and not rotated: what a variant leaves in memory and caches would always meet the same next one.
        for index in torch.randperm(len(names), generator=shuffle).tolist():
            name = names[index]
            started = time.perf_counter()
            variants[name]()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _quartiles(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "low": low, "high": high}


def _print_table(result: dict[str, Any]) -> None:
    size = f"{result['parameters']:,} parameters, batches of {result['batch']}"
    print(f"\n{result['device']}, {result['net']}, {size}")
    for row in result["rows"]:
        ratio = row["ratio"]
        limit = "" if row["limit"] is None else f", at most {row['limit']:.2f}"
        times = f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"
        print(f"  {row['step']:28}{row['seconds']:8.3f} s   {times} x {row['beside']}{limit}")


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.unlearning_step", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--rounds", type=int, default=9)
    sizes: dict[str, Any] = {"type": int, "nargs": "*", "help": "sizes of batches; none leaves the net out"}
    parser.add_argument("--batch-resnet18", default=[32, 128], **sizes)
    parser.add_argument("--batch-resnet8", default=[128], **sizes)
    parser.add_argument("--width", type=int, default=16, help="channels in the first stage of the ResNet-8")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        parser.error(f"--rounds {options.rounds}: quartiles need 2 or more")
    batches = {"resnet18": options.batch_resnet18, "resnet8": options.batch_resnet8}
    nets = [Net(name, options.width, batch) for name, chosen in batches.items() for batch in chosen]
    if any(net.batch < 1 for net in nets):
        parser.error("a batch has one image or more; to leave a net out, give no number at all")
    results = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for net in nets:
            results.append(measure(net, rounds=options.rounds, device=device))
            if not options.json:
                _print_table(results[-1])
    if options.json:
        settings = {"rounds": options.rounds}
        print(json.dumps({"context": context(), "settings": settings, "results": results}, indent=2))


if __name__ == "__main__":
    main()
