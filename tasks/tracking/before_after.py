"""What a deletion measured before and after it, for the card of the model that it made."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.tracking.verdicts import SPACE, line

HEADING = "### Measured by the deletion"
SUBSETS = {
    "forget": "accuracy on the images to be forgotten",
    "retain": "accuracy on the other training images",
    "validation": "accuracy on validation images",
    "test": "accuracy on test images",
}


def before_after(metrics: Mapping[str, float]) -> str:
    """Markdown: a table of the accuracies before and after, and what they do not say; empty if none were measured.

    Args:
        metrics: of the run; such as ``before_forget_accuracy`` and ``after_forget_accuracy``, in percent.
    """
    rows = []
    for subset, title in SUBSETS.items():
        before, after = (metrics.get(f"{when}_{subset}_accuracy") for when in ("before", "after"))
        if before is not None and after is not None:
            rows.append(line([title, f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}"]))
    if not rows:
        return ""
    head = [line(["percent", "before", "after", "change"]), "|---|---|---|---|"]
    table = "\n".join([*head, *rows])
    return (
        f"{HEADING}\n\n{table}\n{SPACE}\n"
        "A verdict against retraining is not part of the deletion flow: nobody retrained a model without these images. "
        "How near the method comes to retraining is measured by the pipeline, for its own models."
    )
