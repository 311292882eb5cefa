"""The page of a study as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

from benchmarks.sequential.course import ORIGINAL, REFERENCE
from benchmarks.sequential.setting import ARMS, NEVER, Setting
from benchmarks.sequential.summary import curves, methods
from qunlearn.evaluation.summary import REFERENCE as RETRAINED
from qunlearn.reporting.source import DASH, TIMES
from studies.overlay import yaml_text

Entry = Mapping[str, Any]
Entries = Sequence[Entry]

QUESTION = """\
Requests for deletion arrive one after the other, and each model is unlearned from the one before. Do the errors add up,
and does it help to train anew after `max_sequential` unlearnings in a row? After each request every model is held
against a network that was retrained from fresh weights without all samples asked for so far."""

GROWING = """\
What was forgotten grows with every request, and a sample of the last one weighs less in it than one of the first did: \
gaps in one row can be compared, those of different rows only roughly."""

MEANINGS = """\
FA, RA, TA: accuracy in percent on all samples forgotten so far, on the retained and on the test images; FA now: on the
samples of this request alone. MIA: percent of the samples forgotten so far that a support vector machine calls unseen.
AUC: whether the loss tells them from test images of the same classes, 0.5 is not at all; AUC now: those of this
request. Gap: mean distance to the retrained reference over FA, RA, TA and MIA, in points; Ratio: mean gap over the
noise floor. Verdict as everywhere in this project, with the figures that decided it. Flips: weight codes that are not
those of the original."""

COLUMNS = {
    "forget_accuracy": "FA",
    "request_accuracy": "FA now",
    "retain_accuracy": "RA",
    "test_accuracy": "TA",
    "mia_confidence": "MIA",
    "mia_auc": "AUC",
    "request_auc": "AUC now",
}


def page(name: str, setting: Setting, content: Mapping[str, Any]) -> str:
    """GitHub-flavoured Markdown with relative links, ending in a newline.

    Args:
        content: as `publish.content` makes it.
    """
    entries, context = content["summary"], content["context"]
    limit = context["setting"]["limit"]
    parts = [
        f"# {setting.title}",
        QUESTION,
        f"**{setting.lesson.strip()}**" if setting.lesson.strip() else "",
        f"![Gap, test accuracy and accuracy on what was forgotten, by request]({name}.svg)",
        "## After each request",
        f"Gap to retraining in points. {_spreads(context)} `null` and `{limit}` are `max_sequential`; in italics where "
        "the arm trained anew.",
        _course(entries, "average_gap", limit=limit),
        GROWING,
        "Test accuracy in percent.",
        _course(entries, "test_accuracy", limit=limit),
        "## At the end",
        _end(entries, limit=limit),
        MEANINGS,
        "## Cost and gates",
        _cost(entries, limit=limit),
        _cost_text(entries),
        "## How to run it again",
        *_again(name, setting, context),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _spreads(context: Mapping[str, Any]) -> str:
    return f"Median of {len(context['seeds'])} seeds [lowest, highest]." if len(context["seeds"]) > 1 else "One seed."


def _course(entries: Entries, metric: str, *, limit: int) -> str:
    """A row a request; a column the reference (its noise floor for gaps), the original, and each method in each arm."""
    first = "Noise floor" if metric == "average_gap" else "Retrained reference"
    heads = ["Request", first, "`original`"]
    heads += [f"`{method}`, {_arm(arm, limit)}" for method in methods(entries) for arm in ARMS]
    rows = []
    for one in curves(entries, arm=REFERENCE):
        here = [entry for entry in entries if entry["request"] == one["request"]]
        shown = [entry for method in methods(here) for arm in ARMS for entry in curves(here, arm=arm, method=method)]
        beside = _number(one["noise_floor"]) if metric == "average_gap" else _spread(one[metric])
        cells = [_spread(entry[metric]) for entry in curves(here, arm=ORIGINAL)]
        cells += [f"*{_spread(e[metric])}*" if e["retrained"] else _spread(e[metric]) for e in shown]
        rows.append([str(one["request"]), beside, *cells])
    return _table(heads, rows)


def _end(entries: Entries, *, limit: int) -> str:
    """All figures after the last request; and after the one before it, where an arm was trained anew at the last."""
    last = max(one["request"] for one in entries)
    anew = any(one.get("retrained") for one in entries if one["request"] == last)
    rows = []
    for one in entries:
        if one["request"] == last or (anew and one["request"] == last - 1):
            told = [DASH] * 3
            if "average_gap" in one:
                ratio = DASH if one["gap_ratio"] is None else f"{one['gap_ratio']:.1f}{TIMES}"
                told = [_spread(one["average_gap"]), ratio, _verdict(one)]
            flips = f"{one['code_flips']['median']:.1%}".replace("%", " %") if "code_flips" in one else DASH
            figures = [_spread(one[key]) for key in COLUMNS]
            rows.append([str(one["request"]), _model(one, limit), *figures, *told, flips])
    return _table(["Request", "Model", *COLUMNS.values(), "Gap", "Ratio", "Verdict", "Flips"], rows, left=2)


def _verdict(one: Entry) -> str:
    names = {"forget_accuracy": "FA", "retain_accuracy": "RA", "test_accuracy": "TA", "mia_confidence": "MIA"}
    decided = ", ".join(names[metric] for metric, verdict in one["verdicts"].items() if verdict == one["verdict"])
    return one["verdict"] if one["verdict"] == "within" else f"{one['verdict']} ({decided})"


def _model(one: Entry, limit: int) -> str:
    if one["arm"] in (ORIGINAL, REFERENCE):
        return f"`{RETRAINED if one['arm'] == REFERENCE else ORIGINAL}`"
    return f"`{one['method']}`, {_arm(one['arm'], limit)}" + (", trained anew" if one["retrained"] else "")


def _arm(arm: str, limit: int) -> str:
    return "null" if arm == NEVER else str(limit)


def _cost(entries: Entries, *, limit: int) -> str:
    reference = sum(one["seconds"]["median"] for one in curves(entries, arm=REFERENCE))
    rows = []
    for method in methods(entries):
        for arm in ARMS:
            found = curves(entries, arm=arm, method=method)
            unlearned = [one for one in found if not one["retrained"]]
            passed, judged = (sum(one[key] for one in unlearned) for key in ("gates_passed", "seeds"))
            verdicts = Counter(one["verdict"] for one in unlearned)
            rows.append(
                [
                    f"`{method}`, {_arm(arm, limit)}",
                    f"{mean(one['seconds']['median'] for one in unlearned):.1f}",
                    f"{mean(one['cost_ratio']['median'] for one in unlearned):.2f}{TIMES}",
                    f"{mean(one['work_ratio']['median'] for one in unlearned):.2f}{TIMES}",
                    str(len(found) - len(unlearned)),
                    f"{sum(one['seconds']['median'] for one in found) / reference:.2f}{TIMES}",
                    f"{passed} of {judged}",
                    ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()),
                ]
            )
    heads = ["Arm", "Seconds", "Time", "Samples", "Trained anew", "Time of all requests", "Pass the gates", "Verdicts"]
    return _table(heads, rows)


def _cost_text(entries: Entries) -> str:
    seconds = mean(one["seconds"]["median"] for one in curves(entries, arm=REFERENCE))
    return (
        f"Seconds, time and samples of one unlearning; retraining took {seconds:.1f} seconds, and ratios are to it. "
        "Seconds were taken on a machine that had other work; samples, those that went forward and backward, were not "
        "disturbed by it. Pass the gates: unlearned models, of all seeds, that the gates of the deletion flow would "
        "release in place of the model before; those that both arms share count in both. What the gates say was not "
        "acted upon: the flow would have tried another method, and retraining at last. Verdicts: one for each request "
        "that was unlearned, over all seeds."
    )


def _again(name: str, setting: Setting, context: Mapping[str, Any]) -> Iterator[str]:
    told, images, machine = context["setting"], context["images"], context["machine"]
    yield f"```console\n$ OMP_NUM_THREADS=1 python -m benchmarks.sequential {name} --seeds {len(context['seeds'])}\n```"
    yield (
        f"Stopped half-way, the same command goes on. [`{name}.yaml`](../../../benchmarks/sequential/{name}.yaml) lies "
        "over `params.yaml`. In force were:"
    )
    methods_used = {row: one["settings"] for row, one in context["methods"].items()}
    shown = {key: context["params"][key] for key in ("data", "model", "quantization", "training")}
    yield f"```yaml\n{yaml_text({**shown, 'unlearn': methods_used}, default_flow_style=None).strip()}\n```"
    yield (
        f"{images['train']:,} training, {images['validation']:,} validation and {images['test']:,} test images of "
        f"{' x '.join(map(str, context['shape']))}; {told['requests']} requests of {images['request']} random training "
        f"images each ({100 * told['share']:g} %), the same for all seeds; seeds {_listed(context['seeds'])}. "
        f"References of each seed and request: {told['references']}; gaps are taken to the first, and the noise floor "
        "is the mean gap over all pairs of references of a request, of all seeds. A method's seed comes from the "
        "weights before, as in the deletion flow; references have seeds of their own. The arm "
        f"`{told['limit']}` is the other one until its request {told['limit'] + 1}, and its models are the same."
    )
    yield setting.notes.strip()
    threads = f"{machine['threads']} thread{'' if machine['threads'] == 1 else 's'}"
    versions = ", ".join(f"{package} {number}" for package, number in context["versions"].items())
    files = f"[{name}.json]({name}.json), [{name}.csv]({name}.csv)"
    yield f"{machine['processor']}, {threads}. {versions}. Numbers: {files}."


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"


def _spread(one: Mapping[str, float]) -> str:
    low, middle, high = (f"{one[key]:.2f}" for key in ("low", "median", "high"))
    return middle if low == high else f"{middle} [{low}, {high}]"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    marks = ["---"] * left + ["---:"] * (len(heads) - left)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, marks, *rows))
