"""How often the gates pass a model that never saw the samples, one that did, and one that forgot them conspicuously.

A pass of the first is what the gates owe a good candidate: about 95 % of the time. A pass of another is a miss.

*Simulated*: logits of 10 classes, about 36 test and 14 validation samples each, whose true class is ahead by a normal
margin; the margin of trained samples is larger, and that of samples forgotten conspicuously smaller, by as much as
gives the named AUC. *Real*: for each of several fresh
splits three 4-bit networks: the champion, trained on everything; one retrained without a pool of training images; and a
second such one with another seed, as the reference. Samples to forget are drawn from the pool, which the champion saw
and the others did not.

A row is of one number of samples to forget; figures are percent of passes with their standard error. Draws of one split
share its networks, so the standard error of the real rows is taken over splits.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gate_trials import SIZES, Networks, Trial, over_forgotten, simulated
from benchmarks.qat_step import context
from qunlearn.config import TrainingConfig
from qunlearn.config.gates import GatesConfig
from qunlearn.deletion.gates import Gate, Readings, judge

MARGINS = (0.0, 0.01, 0.02)
"""Of the membership AUC; the first is what the rows are about, the others what they would cost."""
AUC_LOWS = (0.4, 0.5)
"""Of `streisand`; the first is what the rows are about, the other allows no sample to be harder than the average."""
CHAMPION_AUC = 0.7
"""That of a simulated champion whose unlearned model is judged; it takes no part in any figure of such a row."""
REFERENCE_MARGINS = (1.0, 2.0, 3.0)
HARM = ("utility", "retain")

Row = dict[str, Any]


def answers(trial: Trial, *, seed: int, over: Sequence[float] = ()) -> dict[str, dict[str, bool]]:
    """Model (`never saw`, `saw`) -> figure -> whether it passes; margins and limits are figures of their own.

    Args:
        over: AUCs; with any, the models are those of `over_forgotten` instead.
    """
    champion, unseen, reference = trial
    models = {f"over-forgot, AUC {auc:g}": over_forgotten(unseen, auc=auc) for auc in over}
    return {
        model: _passes(champion, candidate, reference, seed=seed)
        for model, candidate in (models or {"never saw": unseen, "saw": champion}).items()
    }


def _passes(champion: Readings, candidate: Readings, reference: Readings, *, seed: int) -> dict[str, bool]:
    def gates(auc_low: float) -> dict[str, Gate]:
        config = GatesConfig(resamples=1000, auc_low=auc_low)
        judgement = judge(champion, candidate, config, forgotten_classes=(), reference=reference, seed=seed)
        return {gate.name: gate for gate in judgement.gates}

    found = gates(AUC_LOWS[0])
    passes = {name: passed for gate in found.values() for name, passed in _figures(gate)}
    strange = found["streisand"].interval
    for low in AUC_LOWS[1:]:
        # An interval can be held against any limit; the limit for few samples is drawn from a law of its own.
        passed = gates(low)["streisand"].passed if strange is None else strange[1] >= low
        passes[f"streisand, auc_low {low:g}"] = passed
    passes["both sides"] = passes[f"membership, margin {MARGINS[0]:g}"] and passes["streisand"]
    return passes


def _figures(gate: Gate) -> list[tuple[str, bool]]:
    if gate.name == "loss_percentile":
        return [(f"membership, margin {margin:g}", gate.passed) for margin in MARGINS]
    if gate.name == "streisand":
        return [(gate.name, gate.passed)]
    if gate.interval is None:
        raise ValueError(f"the gate {gate.name} could not be judged: {gate.text}")
    low, high = gate.interval
    if gate.name == "membership":
        return [(f"membership, margin {margin:g}", low <= 0.5 + margin) for margin in MARGINS]
    if gate.name.startswith("reference_"):
        return [(f"{gate.name}, margin {one:g}", low <= one and high >= -one) for one in REFERENCE_MARGINS]
    return [(gate.name, gate.passed)]


class Tally:
    """How often each figure passes, for each model and number of samples, with trials kept apart by group."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.passes: dict[tuple[str, int], dict[str, dict[int, list[bool]]]] = {}

    def add(
        self, size: int, trial: Trial, *, group: int, ignore: tuple[str, ...] = (), over: Sequence[float] = ()
    ) -> None:
        """Judge one trial.

        Args:
            group: its number is the seed as well.
            ignore: beginnings of the figures that mean nothing here.
            over: AUCs of models that forgot conspicuously, which are judged instead.
        """
        for model, figures in answers(trial, seed=group, over=over).items():
            places = self.passes.setdefault((model, size), {})
            for figure, passed in figures.items():
                if not figure.startswith(ignore):
                    places.setdefault(figure, {}).setdefault(group, []).append(passed)

    def rows(self) -> list[Row]:
        """One row for each model and number of samples: percent of passes and their standard error over groups."""
        rows = []
        for (model, size), figures in self.passes.items():
            means = {name: [100.0 * float(np.mean(one)) for one in groups.values()] for name, groups in figures.items()}
            rows.append(
                {
                    "setting": self.title,
                    "model": model,
                    "samples": size,
                    "trials": sum(map(len, next(iter(figures.values())).values())),
                    "passes": {name: float(np.mean(one)) for name, one in means.items()},
                    "standard_error": {
                        name: float(np.std(one, ddof=1) / len(one) ** 0.5) if len(one) > 1 else None
                        for name, one in means.items()
                    },
                }
            )
        return rows


def simulate(trials: int, auc: float) -> list[Row]:
    """Each trial is a group of its own; accuracies, which nothing was chosen for, are left out."""
    tally = Tally(f"simulated, AUC {auc:g}")
    for size in SIZES:
        for seed in range(trials):
            tally.add(size, simulated(size, auc=auc, seed=seed), group=seed, ignore=(*HARM, "reference_"))
    return tally.rows()


def simulate_over(trials: int, aucs: Sequence[float]) -> list[Row]:
    """The same for models that forgot conspicuously, one for each AUC."""
    tally = Tally("simulated")
    for size in SIZES:
        for seed in range(trials):
            trial = simulated(size, auc=CHAMPION_AUC, seed=seed)
            tally.add(size, trial, group=seed, ignore=(*HARM, "reference_"), over=aucs)
    return tally.rows()


def train_and_judge(networks: Networks, *, splits: int, draws: int, progress: Callable[[str], None]) -> list[Row]:
    """Each split is a group."""
    tally = Tally(networks.source)
    for split in range(splits):
        for size, trial in networks.trials(seed=split, draws=draws):
            tally.add(size, trial, group=split)
        progress(f"{networks.source}: split {split + 1} of {splits}")
    return tally.rows()


def table(rows: list[Row]) -> str:
    """Markdown: a line per setting, model and number of samples, a column per figure, percent of passes."""
    figures = list(dict.fromkeys(name for row in rows for name in row["passes"]))
    heads = ["setting", "model", "samples", "trials", *figures]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [str(row[name]) for name in heads[:4]]
        for name in figures:
            error = row["standard_error"].get(name)
            cells.append(f"{row['passes'][name]:.1f}" if name in row["passes"] else "-")
            cells[-1] += "" if error is None else f" ± {error:.1f}"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run and print, and write JSON where a file is named."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate_calibration", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file too")
    parser.add_argument("--trials", type=int, default=1000, help="simulated trials a row; 0 leaves the part out")
    parser.add_argument("--auc", type=float, nargs="+", default=[0.6, 0.7, 0.8], help="of simulated attacks")
    parser.add_argument("--over", type=float, nargs="+", default=[0.4, 0.3, 0.2], help="AUC after forgetting too much")
    parser.add_argument("--splits", type=int, default=20, help="splits with real networks; 0 leaves the part out")
    parser.add_argument("--draws", type=int, default=20, help="draws of samples to forget, for each split and row")
    parser.add_argument("--source", default="digits", help="digits, or a set of ten classes that torchvision reads")
    parser.add_argument("--root", type=Path, default=Path("data/raw"), help="torchvision's folder")
    parser.add_argument("--subset", type=int, help="take only so many images")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args(arguments)
    rows = [row for auc in options.auc if options.trials for row in simulate(options.trials, auc)]
    if options.trials:
        rows += simulate_over(options.trials, options.over)
    if options.splits:
        recipe = TrainingConfig(
            epochs=options.epochs,
            batch_size=64,
            learning_rate=0.05,
            warmup_epochs=min(3, options.epochs - 1),
            crop_padding=0,
            flip=False,
            device="cpu",
        )
        networks = Networks(options.source, options.root, options.subset, options.width, recipe)
        rows += train_and_judge(networks, splits=options.splits, draws=options.draws, progress=print)
    print(table(rows))
    if options.json:
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
        content = {"context": context(), "settings": settings, "rows": rows}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
