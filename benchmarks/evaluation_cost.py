"""What the metrics of one model cost beside one pass of inference over the same images.

The net is a small residual network with 4-bit weights and activations, its images are noise of the size of
Fashion-MNIST. One round is one inference pass over forget, retain and test images, then all metrics of `measure` with
1000 bootstrap resamples and a reference model, from the same logits. Reported is

    ratio = (inference + metrics without the support vector fits) / inference

of each round, as its median over rounds with its quartiles. The fits of the five support vector attacks grow with the
square of the test set and have nothing to do with the network; their seconds are printed apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from benchmarks.qat_step import context
from qunlearn.checkpoint import Blueprint
from qunlearn.config import EvaluateConfig, ModelConfig, QuantizationConfig
from qunlearn.data.batches import ImagePool, Transform, infer
from qunlearn.evaluation import membership, suite

CLASSES, IMAGE_SIZE = 10, 28
LIMIT = 1.5
"""The ratio that evaluation must not exceed on a CPU, where the metrics run too."""

Logits = dict[str, np.ndarray]


def network(width: int) -> nn.Module:
    """resnet8 of `width` channels in its first stage, quantized with LSQ to 4 bits inside and 8 at the edges."""
    blueprint = Blueprint(
        model=ModelConfig(name="resnet8", width=width),
        quantization=QuantizationConfig(quantizer="lsq", weight_bits=4, activation_bits=4),
        classes=CLASSES,
        channels=1,
        image_size=IMAGE_SIZE,
    )
    return blueprint.build(seed=0)


def image_pool(count: int, device: str) -> ImagePool:
    """`count` images of noise with random labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 1, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8, generator=generator)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return ImagePool(images.to(device), labels.to(device), Transform(mean=(0.5,), std=(0.25,)), classes=CLASSES)


def inference(model: nn.Module, pool: ImagePool, sizes: dict[str, int]) -> tuple[Logits, Logits]:
    """Logits and labels of each subset as arrays; the subsets follow each other in the pool."""
    logits, labels, start = {}, {}, 0
    for name, count in sizes.items():
        indices = torch.arange(start, start + count)
        logits[name] = infer(model, pool, indices).cpu().numpy()
        labels[name] = pool.labels[indices].cpu().numpy()
        start += count
    return logits, labels


def as_if_trained(logits: Logits, labels: Logits, *, seed: int) -> Logits:
    """The network's logits with a push towards the true label: noise alone would give the attacks an odd problem."""
    generator = np.random.default_rng(seed)
    pushed = {}
    for name, values in logits.items():
        pushed[name] = values + generator.normal(scale=2.0, size=values.shape).astype(values.dtype)
        pushed[name][np.arange(len(values)), labels[name]] += 4.0 if name == "test" else 6.0
    return pushed


def one_round(model: nn.Module, pool: ImagePool, sizes: dict[str, int], config: EvaluateConfig) -> dict[str, float]:
    """Seconds of inference, of the support vector fits, and of all other metrics."""
    started = time.perf_counter()
    raw, labels = inference(model, pool, sizes)
    inferred = time.perf_counter() - started
    logits, reference = (as_if_trained(raw, labels, seed=seed) for seed in (0, 1))
    fits = 0.0
    attack = membership.svc_attack

    def timed(**features: Any) -> float:
        nonlocal fits
        begun = time.perf_counter()
        found = attack(**features)
        fits += time.perf_counter() - begun
        return found

    with patch.object(membership, "svc_attack", timed):
        started = time.perf_counter()
        suite.measure(logits, labels, config=config, reference=reference)
        metrics = time.perf_counter() - started - fits
    return {"inference": inferred, "metrics": metrics, "svc": fits}


def measure(*, sizes: dict[str, int], width: int, rounds: int, bootstrap: int, device: str) -> dict[str, Any]:
    """Medians over rounds, after one pass of warm-up."""
    pool = image_pool(sum(sizes.values()), device)
    model = network(width).to(device)
    with torch.no_grad():
        model(pool.batch(torch.arange(min(256, len(pool))))[0])  # the quantizers' scales come from a first batch
    inference(model, pool, sizes)
    config = EvaluateConfig(bootstrap=bootstrap)
    times = [one_round(model, pool, sizes, config) for _ in range(rounds)]
    low, middle, high = statistics.quantiles(
        [1.0 + one["metrics"] / one["inference"] for one in times], n=4, method="inclusive"
    )
    seconds = {name: statistics.median(one[name] for one in times) for name in times[0]}
    return {"device": device, "seconds": seconds, "ratio": {"median": middle, "low": low, "high": high}}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print, and write JSON where a file is named."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evaluation_cost", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file too")
    parser.add_argument("--forget", type=int, default=1000)
    parser.add_argument("--retain", type=int, default=9000)
    parser.add_argument("--test", type=int, default=2500)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of inference")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        parser.error(f"--rounds {options.rounds}: quartiles need 2 or more")
    sizes = {name: getattr(options, name) for name in ("forget", "retain", "test")}
    settings = {"width": options.width, "bootstrap": options.bootstrap, "rounds": options.rounds}
    result = measure(sizes=sizes, device=options.device, **settings)
    seconds, ratio = result["seconds"], result["ratio"]
    print(f"{options.device}, {', '.join(f'{count} {name}' for name, count in sizes.items())} images, {settings}")
    print(f"  inference           {seconds['inference']:7.3f} s")
    print(f"  metrics without SVC {seconds['metrics']:7.3f} s")
    print(f"  five SVC attacks    {seconds['svc']:7.3f} s, not in the ratio")
    print(f"  ratio {ratio['median']:.3f} ({ratio['low']:.3f}-{ratio['high']:.3f}), at most {LIMIT}")
    if options.json:
        content = {"context": context(), "settings": settings | {"sizes": sizes, "limit": LIMIT}, **result}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
