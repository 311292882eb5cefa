"""The main table as plain text for a terminal, and as Markdown."""

from __future__ import annotations

from qunlearn.reporting.content import COLUMNS, SIGNS, Evaluation, lines, number


def text_table(evaluation: Evaluation) -> str:
    """Aligned plain text: methods to the left, figures to the right, best values marked with `<`."""
    heading = ["method", *(column.short for column in COLUMNS)]
    body = [
        [line.method, *(f"{cell.text} {'<' if cell.best else ' '}" for cell in line.cells)]
        for line in lines(evaluation)
    ]
    widths = [max(len(row[i].rstrip()) for row in [heading, *body]) for i in range(len(heading))]
    marked = [i for i in range(1, len(heading)) if any(row[i].endswith("<") for row in body)]

    def layout(row: list[str]) -> str:
        parts = [row[0].ljust(widths[0])]
        for i, text in enumerate(row[1:], start=1):
            # A column with a best mark keeps a place for it, so that its numbers stay aligned.
            parts.append((text if i in marked and row is not heading else text.rstrip()).rjust(widths[i]))
        return "  ".join(parts).rstrip()

    rule = "-" * max(len(layout(row)) for row in [heading, *body])
    notes = [*_notes(evaluation), "< is the method closest to retraining, or the cheapest."]
    return "\n".join([layout(heading), rule, *(layout(row) for row in body), rule, *notes])


def markdown_table(evaluation: Evaluation) -> str:
    """A Markdown table with best values in bold."""
    heading = ["Method", *(column.short for column in COLUMNS)]
    out = [_piped(heading), _piped(["---", *("---:" for _ in COLUMNS)])]
    for line in lines(evaluation):
        texts = [(cell.text.replace("*", "\\*"), cell.best) for cell in line.cells]
        cells = [f"**{text}**" if best else text for text, best in texts]
        verdict = next(i for i, column in enumerate(COLUMNS) if column.key == "verdict")
        cells[verdict] = f"{SIGNS[line.verdict]} {cells[verdict]}"
        out.append(_piped([f"`{line.method}`", *cells]))
    return "\n".join([*out, "", *_notes(evaluation)]) + "\n"


def _piped(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _notes(evaluation: Evaluation) -> list[str]:
    summary = evaluation["summary"]
    seeds = sorted({seed for row in summary for seed in row["seeds"]})
    floor = evaluation["context"]["noise_floor"]
    if len(seeds) == 1:
        without = "no deviations, intervals, noise floor or verdicts"
        return [f"1 seed ({seeds[0]}): {without}. FA, RA, TA, MIA in percent, Gap in points."]
    notes = [
        f"{len(seeds)} seed{'s' if len(seeds) != 1 else ''} ({', '.join(map(str, seeds))}), mean ± standard deviation; "
        "FA, RA, TA, MIA in percent; Gap in points with 95 % interval. "
        f"Noise floor between retrained models: {number(floor)} points."
    ]
    if any(row["concurrent"] for row in summary):
        notes.append("* measured while other cells ran: not comparable.")
    return notes
