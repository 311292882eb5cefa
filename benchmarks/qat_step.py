"""Images per second of one training step: float, stock Brevitas, and each of our quantizers, on one net and batch.

The net is six blocks of 3 x 3 convolution, BatchNorm and ReLU on 32 x 32 images; a step is forward, backward and SGD
with momentum. The variants take turns within each round, so that a change in the machine's load hits all of them; what
is reported is the median over rounds of the ratio to the other variant's step of the same round, with its quartiles.

Stock Brevitas appears twice, since it costs different amounts: `brevitas` as it comes, which takes a percentile of
every activation in its first 300 training passes, and `brevitas-learned` after those, with learned activation scales.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qunlearn.config import QuantizationConfig
from qunlearn.quantization import quantize

VARIANTS = ("float", "brevitas", "brevitas-learned", "lsq", "pact", "dsq")
REFERENCES = {"of_float": "float", "of_brevitas": "brevitas", "of_brevitas_learned": "brevitas-learned"}
"""Key of a ratio in the results -> the variant it refers to."""
CLASSES = 10


def network(channels: int) -> nn.Module:
    """Six convolutions with BatchNorm and ReLU, `channels` wide, with a linear head of ten classes."""
    blocks: list[nn.Module] = []
    for before in (3, *[channels] * 5):
        blocks += [nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def variant(name: str, float_network: nn.Module, *, bits: int) -> nn.Module:
    """The network of one row of the table."""
    if name == "float":
        return quantize(float_network, QuantizationConfig(quantizer="none"))
    quantizer: Any = name.partition("-")[0]
    config = QuantizationConfig(quantizer=quantizer, weight_bits=bits, activation_bits=bits)
    return quantize(float_network, config)


def step_function(model: nn.Module, images: Tensor, labels: Tensor, *, bf16: bool, learned: bool) -> Callable[[], None]:
    """One training step as a function, after two steps of warm-up.

    Args:
        learned: leave Brevitas' phase of statistics, which loading a state dict ends.
    """
    model.to(images.device).train()
    if images.is_contiguous(memory_format=torch.channels_last):
        model.to(memory_format=torch.channels_last)
    if learned:
        model(images)
        model.cpu().load_state_dict(model.state_dict())
        model.to(images.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        if images.is_cuda:
            torch.cuda.synchronize()

    step()
    step()
    return step


def measure(
    *, channels: int, batch: int, bits: int, rounds: int, device: str, channels_last: bool, bf16: bool
) -> dict[str, Any]:
    """Images per second and ratios of all variants at one width, on one device."""
    torch.manual_seed(0)
    images = torch.randn(batch, 3, 32, 32, device=device)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (batch,), device=device)
    base = network(channels)
    steps = {
        name: step_function(
            variant(name, base, bits=bits), images, labels, bf16=bf16, learned=name == "brevitas-learned"
        )
        for name in VARIANTS
    }
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for turn in range(rounds):
        # Another order each round: no variant always follows the same neighbour.
        for name in (*VARIANTS[turn % len(VARIANTS) :], *VARIANTS[: turn % len(VARIANTS)]):
            started = time.perf_counter()
            steps[name]()
            seconds[name].append(time.perf_counter() - started)
    rows = {name: _row(times, seconds, batch) for name, times in seconds.items()}
    return {"device": device, "channels": channels, "channels_last": channels_last, "bf16": bf16, "variants": rows}


def _row(times: list[float], seconds: dict[str, list[float]], batch: int) -> dict[str, Any]:
    ratios = {
        key: _quartiles([other / own for other, own in zip(seconds[reference], times, strict=True)])
        for key, reference in REFERENCES.items()
    }
    return {"images_per_second": batch / statistics.median(times), **ratios}


def _quartiles(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "low": low, "high": high}


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Per device, the median over widths of each variant's median ratios."""
    devices = dict.fromkeys(result["device"] for result in results)
    return {
        device: {
            name: {
                key: statistics.median(r["variants"][name][key]["median"] for r in results if r["device"] == device)
                for key in REFERENCES
            }
            for name in VARIANTS
        }
        for device in devices
    }


def context() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda_device": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (FileNotFoundError, StopIteration):
        return platform.processor() or platform.machine()


def _print_table(result: dict[str, Any]) -> None:
    layout = "channels_last" if result["channels_last"] else "contiguous"
    precision = "bf16 autocast" if result["bf16"] else "fp32"
    print(f"\n{result['device']}, {result['channels']} channels, {layout}, {precision}")
    print(f"{'':18}{'images/s':>9}" + "".join(f"   x {name:18}" for name in REFERENCES.values()))
    for name, row in result["variants"].items():
        ratios = "".join(f"   {row[k]['median']:5.2f} ({row[k]['low']:.2f}-{row[k]['high']:.2f})  " for k in REFERENCES)
        print(f"{name:18}{row['images_per_second']:9.0f}{ratios}")


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.qat_step", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--bits", type=int, default=4, help="bits inside; the edges have 8")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--bf16", action="store_true", help="bf16 autocast")
    options = parser.parse_args(arguments)
    settings = {"batch": options.batch, "bits": options.bits, "rounds": options.rounds}
    layout = {"channels_last": options.channels_last, "bf16": options.bf16}
    results = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for channels in options.channels:
            results.append(measure(channels=channels, device=device, **settings, **layout))
            if not options.json:
                _print_table(results[-1])
    total = summary(results)
    if options.json:
        print(json.dumps({"context": context(), "settings": settings, "results": results, "summary": total}, indent=2))
        return
    for device, rows in total.items():
        print(f"\n{device}, medians over {', '.join(map(str, options.channels))} channels")
        for name, row in rows.items():
            print(f"{name:18}" + "".join(f"{row[k]:5.2f} x {reference:18}" for k, reference in REFERENCES.items()))


if __name__ == "__main__":
    main()
