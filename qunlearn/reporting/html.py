"""The report: one self-contained HTML page with inline style and figures. It needs no network and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from qunlearn.evaluation.summary import REFERENCE
from qunlearn.reporting import content
from qunlearn.reporting.charts import gap_chart, reference_chart
from qunlearn.reporting.conflict import COSINE, REMOVED, Steps, bin_width, conflict_chart, has_conflicts
from qunlearn.reporting.content import SIGNS, TIMES, Evaluation

PANELS = (
    ("forget_accuracy", "Forget accuracy, %"),
    ("retain_accuracy", "Retain accuracy, %"),
    ("test_accuracy", "Test accuracy, %"),
    ("mia_confidence", "Membership attack (MIA), %"),
)
FLOAT_BITS = 32


def render(evaluation: Evaluation, *, steps: Steps | None = None) -> str:
    """The page.

    Args:
        evaluation: content of `metrics/evaluation.json`. Of its context the page shows what there is of `params`,
            `data` (`source`, `licence`, `shape`, `classes`, `counts`, `scenario`, `erased_sha256`), `seeds`, `audit`
            (a mapping per layer), `versions`, `hardware`, `methods` (name -> `title`, `needs`: list) and `noise_floor`.
        steps: (method, seed) -> per-step statistics; those without the columns of conflicts are passed over.
    """
    environment = Environment(
        loader=PackageLoader("qunlearn.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    context = evaluation["context"]
    headings, detail_rows = content.details(evaluation)
    return environment.get_template("report.html").render(
        title=_title(context),
        finding=content.finding(evaluation),
        facts=_facts(context),
        parts=_parts(context.get("data", {}).get("counts", {})),
        columns=content.COLUMNS,
        lines=content.lines(evaluation),
        signs=SIGNS,
        seeds=sorted({seed for row in evaluation["summary"] for seed in row["seeds"]}),
        floor=context["noise_floor"],
        concurrent=any(row["concurrent"] for row in evaluation["summary"]),
        compared=[row for row in evaluation["summary"] if row["method"] != REFERENCE],
        described=context.get("methods", {}),
        gap_charts=[Markup(gap_chart(evaluation, width=width)) for width in (820, 380)],
        panels=[Markup(reference_chart(evaluation, metric=metric, title=title)) for metric, title in PANELS],
        panel_titles=[title for _, title in PANELS],
        conflicts=_conflicts(steps or {}),
        headings=headings,
        flips=content.flips_by_layer(evaluation),
        detail_rows=detail_rows,
        audit=context.get("audit", []),
        audit_reading=_audit_reading(context.get("audit", [])),
    )


def _title(context: Mapping[str, Any]) -> str:
    model = context.get("params", {}).get("model", {}).get("name", "a network")
    quantization = context.get("params", {}).get("quantization", {})
    bits = quantization.get("weight_bits")
    precision = "float" if quantization.get("quantizer") == "none" or bits is None else f"{bits}-bit"
    forgotten = context.get("data", {}).get("counts", {}).get("train/forget")
    what = f"Forgetting {forgotten:,} images" if forgotten else "Forgetting"
    return f"{what} in a {precision} {model}"


def _facts(context: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was run, as (name, text) pairs; what the context does not know is left out."""
    params, data = context.get("params", {}), context.get("data", {})
    quantization, training = params.get("quantization", {}), params.get("training", {})
    size = f" {TIMES} ".join(map(str, data.get("shape", [])))
    candidates = [
        ("Images", [data.get("source"), size, _counted(data.get("classes"), "classes")]),
        ("Licence", [data.get("licence")]),
        ("To forget", [_named(data.get("scenario", {}))]),
        ("Network", [params.get("model", {}).get("name"), _named(params.get("model", {}), skip=("name",))]),
        ("Quantizer", [quantization.get("quantizer"), _bits(quantization)]),
        ("Training", [_counted(training.get("epochs"), "epochs"), _named(training, only=_RECIPE)]),
        ("Seeds", [", ".join(map(str, context.get("seeds", [])))]),
        ("Hardware", [context.get("hardware")]),
        ("Versions", [f"{name} {text}" for name, text in context.get("versions", {}).items()]),
        ("Erased ids", [data.get("erased_sha256") and f"sha256 {data['erased_sha256'][:16]}…"]),
    ]
    texts = ((name, ", ".join(str(part) for part in parts if part)) for name, parts in candidates)
    return [(name, text) for name, text in texts if text]


_RECIPE = ("batch_size", "learning_rate", "schedule", "weight_decay")


def _counted(count: int | None, unit: str) -> str:
    return "" if count is None else f"{count} {unit}"


def _named(block: Mapping[str, Any], *, skip: tuple[str, ...] = (), only: tuple[str, ...] | None = None) -> str:
    kept = {k: v for k, v in block.items() if v is not None and k not in skip and (only is None or k in only)}
    return ", ".join(str(v) if k == "kind" else f"{k.replace('_', ' ')} {v}" for k, v in kept.items())


def _bits(quantization: Mapping[str, Any]) -> str:
    if quantization.get("quantizer") in (None, "none"):
        return ""
    edges = quantization["edge_bits"]
    scales = "per channel" if quantization.get("per_channel") else "per tensor"
    inside = f"{quantization['weight_bits']}-bit weights, {quantization['activation_bits']}-bit inputs"
    return f"{inside}, edges {'float' if edges == FLOAT_BITS else f'{edges} bits'}, weight scales {scales}"


def _parts(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """The bar of the split: forget, retain (or adjacent and remote), validation, test, with their share of all."""
    train = {name.removeprefix("train/"): n for name, n in counts.items() if name.startswith("train/")}
    if {"adjacent", "remote"} & train.keys():
        train.pop("retain", None)
    shown = [(name, train[name]) for name in ("forget", "adjacent", "remote", "retain") if train.get(name)]
    for partition in ("validation", "test"):
        if counts.get(partition):
            shown.append((partition, counts[partition]))
    total = sum(n for _, n in shown)
    return [{"name": name, "count": n, "percent": 100 * n / total} for name, n in shown]


def _conflicts(steps: Steps) -> list[dict[str, Any]]:
    usable = {key: columns for key, columns in steps.items() if has_conflicts(columns)}
    found = []
    for method in dict.fromkeys(method for method, _ in usable):
        charts = [
            conflict_chart(usable, method=method, name=name, title=title)
            for name, title in ((COSINE, "Cosine of forget and retain gradient"), (REMOVED, "Removed fraction"))
        ]
        seeds = sum(key == method for key, _ in usable)
        found.append(
            {
                "method": method,
                "seeds": seeds,
                "width": bin_width(usable, method),
                "cosine": Markup(charts[0]),
                "removed": Markup(charts[1]),
            }
        )
    return found


def _audit_reading(audit: list[Mapping[str, Any]]) -> str:
    """The audit in a sentence."""
    if not audit:
        return ""

    def spoken(edge: bool) -> str:
        pairs = {(x["weight_bits"], x["activation_bits"]) for x in audit if bool(x["edge"]) is edge}
        return " and ".join(sorted(f"{w}/{a}" for w, a in pairs)) or "none"

    inner = sum(not layer["edge"] for layer in audit)
    return (
        f"Bits of weights/inputs really in force, read from the model: {spoken(False)} in the {inner} inner layers, "
        f"{spoken(True)} at the {len(audit) - inner} edges. 32 means float."
    )
