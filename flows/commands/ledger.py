"""`qunlearn ledger`: what the deletion service has written down, and whether it is unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qunlearn.deletion.ledger import Event, Ledger

app = typer.Typer(help="The ledger of deletion requests: its events, and their check.", no_args_is_help=True)

ParamsFile = Annotated[Path, typer.Option("--params", help="Parameter file; its folder is the project.")]
DEFAULT_PARAMS = Path("params.yaml")


@app.command()
def verify(params_file: ParamsFile = DEFAULT_PARAMS) -> None:
    """Recompute the chain of events, compare it with requests and evidence; exit code 1 names the first bad row."""
    from qunlearn.deletion.counted import counted

    ledger = _ledger(params_file)
    fault = ledger.verify()
    if fault is not None:
        typer.echo(f"The ledger was changed or is damaged: {fault}.", err=True)
        raise typer.Exit(1)
    ledger.check_evidence()
    number, digest = ledger.head()
    typer.echo(f"The ledger is intact: {counted(number, 'event')}.")
    typer.echo(
        f"Head {digest}: compare it with a head that was kept elsewhere, such as the one in a request's evidence."
    )


@app.command(name="accept-key")
def accept_key(params_file: ParamsFile = DEFAULT_PARAMS) -> None:
    """Go on with another identity key, where the old one is gone for good or was deleted; makes one if necessary.

    Subjects, references and unknown names of earlier requests can then never be recognised again.
    """
    from qunlearn.deletion.identity import Key
    from qunlearn.deletion.states import FINAL, State

    ledger = _ledger(params_file)
    root = params_file.resolve().parent
    key = Key.at_hand(root) or Key.made(root)
    if not ledger.accept_key(key):
        typer.echo("The identity key is the ledger's already; nothing was changed.")
        return
    typer.echo(f"The identity key in {key.source} is the ledger's from now on.")
    waiting = ledger.requests(states=[state for state in State if state not in FINAL])
    unknown = [one.id for one in waiting if one.asked.unknown]
    if unknown:
        typer.echo(
            "These requests wait under names that nobody recognises any more; cancel them and ask again: "
            + ", ".join(unknown)
        )


@app.command()
def log(
    request: Annotated[
        str | None, typer.Argument(metavar="[REQUEST]", help="Only what concerns this request.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
    params_file: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Print the events in order.

    In JSON each is what was hashed, and its `previous` and `hash`: sha256 over `previous` and the rest as JSON with
    sorted keys and without spaces, in UTF-8.
    """
    events = _ledger(params_file).events(request=request)
    if as_json:
        shown = [json.loads(event.body) | {"previous": event.previous, "hash": event.hash} for event in events]
        typer.echo(json.dumps(shown, indent=2))
        return
    for event in events:
        typer.echo(_line(event))


def _line(event: Event) -> str:
    """Number, time (UTC), kind, batch, requests, and what else is to be said."""
    concerned = f"{len(event.requests):,} requests" if len(event.requests) > 1 else next(iter(event.requests), "-")
    reason = next((standing["reason"] for standing in event.requests.values() if standing["reason"]), None)
    # Escaped: whatever a payload holds, it moves no cursor.
    said = [json.dumps(part) for part in (reason, event.payload) if part]
    if event.clock is not None:
        said.append(f"clock {event.clock}")
    columns = f"{event.number:>6}  {event.at:%Y-%m-%d %H:%M:%S}  {event.kind:<12}  {event.batch or '-':<18}  "
    return (columns + f"{concerned:<18}  " + " ".join(said)).rstrip()


def _ledger(params_file: Path) -> Ledger:
    from flows.project_folder import project_folder
    from qunlearn.deletion.ledger import Ledger

    return Ledger.open(root=project_folder(params_file), must_exist=True)
