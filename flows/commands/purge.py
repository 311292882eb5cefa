"""`qunlearn purge`: remove whatever was made from erased samples, and search for what should be gone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qunlearn.deletion.purge import Entry
    from tasks.purging import PurgeReport

app = typer.Typer(help="Remove whatever was made from erased samples, and search for what should be gone.")

SHORT = 19
"""Characters of a digest that the table shows, its kind included."""


@app.callback(invoke_without_command=True)
def purge(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be done; change nothing.")] = False,
    quarantine: Annotated[
        bool | None,
        typer.Option(
            "--quarantine/--no-quarantine",
            help="Move models of the benchmark to .qunlearn/quarantine instead of removing them.",
            show_default="deletion.models in params.yaml",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
    params_file: Annotated[Path, typer.Option("--params", help="Parameter file; its folder is the project.")] = Path(
        "params.yaml"
    ),
) -> None:
    """Remove whatever was made from the samples in data/erased.txt, but for the served model, which has unlearned them.

    Exit code 1 if the search afterwards finds something, or if the purge is refused. Calling it again goes on.
    """
    from flows.holding import served_model
    from qunlearn.deletion.counted import counted
    from qunlearn.deletion.purge import Action
    from tasks.purging import close, plan_purge
    from tasks.purging import purge as carry_out
    from tasks.workspace import Workspace

    workspace = Workspace.open(params_file)
    configured = workspace.params.deletion.models
    models = configured if quarantine is None else "quarantine" if quarantine else "purge"
    if dry_run:
        plan = plan_purge(workspace, models=models)
        typer.echo(json.dumps(plan.as_dict(), indent=2) if as_json else _table(plan.entries))
        if not as_json:
            outside = len(plan.of(Action.OUTSIDE))
            typer.echo(f"{counted(len(plan.to_do), 'thing')} to do, {outside:,} outside; nothing was changed.")
        return
    with served_model(workspace.root):
        report = carry_out(workspace, models=models)
        if report.is_complete and not _is_awaited(workspace.root):
            close(workspace)
    typer.echo(json.dumps(report.as_dict(), indent=2) if as_json else _told(report))
    if not report.is_complete:
        raise typer.Exit(1)


def _is_awaited(root: Path) -> bool:
    """Whether a deletion that was cut short is still to tell in its evidence what was purged: it reads the notes."""
    from flows.existing_ledger import existing_ledger
    from qunlearn.deletion.states import State

    ledger = existing_ledger(root)
    return ledger is not None and bool(ledger.requests(states=[State.CLAIMED, State.PROMOTED]))


def _table(entries: Sequence[Entry]) -> str:
    """One line an entry: what happens, kind, name, digest, and last, in full, where it is and why."""
    rows = [
        (one.action.value, one.kind, one.name, (one.digest or "-")[:SHORT], f"{one.place}: {one.why}")
        for one in entries
    ]
    head = ("action", "kind", "name", "digest", "place and reason")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(4)]
    return "\n".join(
        "  ".join([*(f"{text:<{width}}" for text, width in zip(row, widths, strict=False)), row[-1]])
        for row in [head, *rows]
    )


def _told(report: PurgeReport) -> str:
    from qunlearn.deletion.counted import counted
    from qunlearn.deletion.purge import Action

    if not report.scan.places:
        return "Nothing is erased yet."
    searched = sum(report.scan.places.values())
    lines = [_table(report.plan.entries), *report.told]
    if report.is_complete:
        lines.append(
            f"{counted(len(report.plan.to_do), 'thing')} done; a search of {counted(searched, 'object')} in "
            f"{counted(len(report.scan.places), 'place')} found nothing. "
            f"Outside, see above: {counted(len(report.plan.of(Action.OUTSIDE)), 'thing')}."
        )
    else:
        lines.append(f"A search of {counted(searched, 'object')} still found:")
        lines += [f"  {one.place}, {one.name}: {one.what}" for one in report.scan.found]
        lines.append("Run the purge again when what holds them has ended.")
    return "\n".join(lines)
