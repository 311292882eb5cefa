"""What evidence says in words, on the page and in the terminal. It is never called more than a record."""

from __future__ import annotations

from datetime import datetime

from qunlearn.deletion.evidence import Document, Estimate, Metric
from qunlearn.deletion.gates import HARM

MINUS = "\N{MINUS SIGN}"
TITLES = {
    "unlearned": "The samples were erased, and the served model was replaced by one that was made to forget them",
    "retrained": "The samples were erased, and the served model was replaced by one that was trained without them",
    "not trained": "The samples were erased; the served model had not been trained on them",
    "already erased": "The samples had already been erased",
    "not present": "None of the samples named is known here",
}
"""The outcome, as a sentence."""
NATURE = "A record of what this program did and measured for one deletion request, signed with its key."
KINDS = {
    "sample": "their ids",
    "group": "the person or group they are of",
    "class": "their class",
    "file": "a file of names",
}
"""How the samples of a request were named."""
ACTIONS = {"remove": "removed", "rewrite": "rewritten without them", "quarantine": "moved aside"}
"""What the purge did to an object."""
SUBSETS = {
    "forget": "Forgotten samples",
    "retain": "Retained training samples",
    "validation": "Validation samples",
    "test": "Test samples",
}


def number(value: float, *, unit: str = "") -> str:
    """Percentages with two decimals, other figures with four digits; a true minus sign."""
    text = f"{value:.2f} %" if unit == "%" else f"{value:.4g}{f' {unit}' if unit else ''}"
    return text.replace("-", MINUS)


def interval(ends: tuple[float, float] | None, *, unit: str = "") -> str:
    """`[low, high]`; empty where there is none."""
    if ends is None:
        return ""
    low, high = (number(end, unit=unit).removesuffix(f" {unit}") for end in ends)
    return f"[{low}, {high}]"


def estimate(found: Estimate, *, unit: str) -> str:
    """A figure with its interval."""
    return f"{number(found.value, unit=unit)} {interval(found.interval, unit=unit)}".rstrip()


def change(metric: Metric) -> str:
    """After minus before; of percentages in points."""
    difference = metric.after.value - metric.before.value
    text = f"{difference:+.2f}" if metric.unit == "%" else f"{difference:+.4g}"
    return text.replace("-", MINUS)


def moment(at: datetime) -> str:
    return f"{at.day} {at:%B %Y, %H:%M:%S} UTC"


def counted(count: int, noun: str) -> str:
    """`1 sample`, `2 samples`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def gates_met(document: Document) -> str:
    """How many gates the new model meets, and what those on forgetting are worth; empty without gates."""
    if not document.gates:
        return ""
    met = sum(gate.passed for gate in document.gates)
    return f"{met} of {len(document.gates)} met, {forgetting(document)}"


def forgetting(document: Document) -> str:
    """How many of the gates that ask whether anything was forgotten say something.

    The others ask for harm, which a model that was not changed at all has not done either.
    """
    asked = [gate for gate in document.gates or () if gate.name not in HARM]
    telling = sum(gate.informative and not gate.weak for gate in asked)
    if not asked:
        return "none on forgetting"
    return f"on forgetting {telling} of {len(asked)} informative and not weak"
