"""The `qunlearn` command.

Each command imports what it needs when it runs: PyTorch, MLflow and Prefect take seconds, `qunlearn --help` does not.
"""

from __future__ import annotations

import json
import sys
import textwrap
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands import evidence, ledger, purge, request
from flows.errors import is_ours, tell

if TYPE_CHECKING:
    from flows import servers
    from qunlearn.config import Params

app = typer.Typer(
    help="Remove data from quantized neural networks, with evidence of what was done.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(request.app, name="request")
app.add_typer(ledger.app, name="ledger")
app.add_typer(evidence.app, name="evidence")
app.add_typer(purge.app, name="purge")

ParamsFile = Annotated[Path, typer.Option("--params", help="Parameter file; its folder is the project.")]
Port = Annotated[int | None, typer.Option(min=1024, max=65535, show_default="the one in params.yaml")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
DEFAULT_PARAMS = Path("params.yaml")
METHOD_COLUMNS = (15, 30, 14, 10, 23)
"""Widths of the columns of `qunlearn methods`."""


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the unlearning methods: paper, status, the data each may see, its cost in passes over the data."""
    from qunlearn.unlearning import methods as registry

    rows = [
        {
            "name": method.name,
            "title": method.title,
            "paper": method.paper,
            "status": method.status,
            "first_order": method.first_order,
            "needs": sorted(method.needs),
            "cost": method.cost,
        }
        for method in registry().values()
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    typer.echo(_method_row("method", "title, paper", "status", "may see", "cost"))
    for row in rows:
        title = row["title"] if row["paper"] == "-" else f"{row['title']}\n{row['paper']}"
        status = f"{row['status']}\nfirst-order" if row["first_order"] else row["status"]
        typer.echo()
        typer.echo(_method_row(row["name"], title, status, "\n".join(row["needs"]), row["cost"]))


def _method_row(*cells: str) -> str:
    """One row of the table of methods: lines of each cell wrapped to its column, in all at most 100 characters."""
    columns = [
        [part for line in cell.splitlines() for part in textwrap.wrap(line, width, break_on_hyphens=False)]
        for cell, width in zip(cells, METHOD_COLUMNS, strict=True)
    ]
    lines = [
        "  ".join(f"{part:<{width}}" for part, width in zip(parts, METHOD_COLUMNS, strict=True))
        for parts in zip_longest(*columns, fillvalue="")
    ]
    return "\n".join(line.rstrip() for line in lines)


@app.command()
def table(as_json: AsJson = False, params_file: ParamsFile = DEFAULT_PARAMS) -> None:
    """Print the table of the last evaluation."""
    from flows.project_folder import project_folder
    from tasks.files import read_json

    evaluation = read_json(project_folder(params_file) / "metrics" / "evaluation.json", made_by="evaluate")
    if as_json:
        typer.echo(json.dumps(evaluation["summary"], indent=2))
        return
    from qunlearn.reporting.table import text_table

    typer.echo(text_table(evaluation))


@app.command()
def up(
    mlflow_port: Port = None,
    prefect_port: Port = None,
    params_file: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Start MLflow, Prefect and the process of the flows on this computer, and wait until they answer."""
    from flows import servers

    params = _params(params_file)
    states = servers.up(
        params_file.resolve().parent,
        params,
        params_file=params_file,
        mlflow_port=mlflow_port,
        prefect_port=prefect_port,
        announce=lambda name: typer.echo(f"starting {name} ...", err=True),
    )
    _print_states(states, params.tracking.experiment)
    if {state.name: state for state in states}["mlflow"].state == "elsewhere":
        typer.echo("MLflow was not started: the tracking URI names a server elsewhere.")
    typer.echo("Deletion requests: `qunlearn request add`, or submit-request among Prefect's deployments.")
    typer.echo("The model that they are for: `qunlearn release`.")
    typer.echo(f"They are carried out when the cron {params.deletion.cron!r} fires (UTC). End with `qunlearn down`.")


@app.command()
def status(params_file: ParamsFile = DEFAULT_PARAMS) -> None:
    """Say which servers answer, and where, and which requests are overdue; exit code 1 unless all servers answer."""
    from flows import servers
    from flows.overdue import overdue_lines
    from flows.project_folder import project_folder

    root = project_folder(params_file)
    params = _usable_params(params_file)
    states = servers.status(root, params)
    _print_states(states, None if params is None else params.tracking.experiment)
    for line in overdue_lines(root):
        typer.echo(line)
    if any(state.state not in ("up", "elsewhere") for state in states):
        raise typer.Exit(1)


@app.command()
def down(params_file: ParamsFile = DEFAULT_PARAMS) -> None:
    """End the servers that `qunlearn up` started."""
    from flows import servers
    from flows.project_folder import project_folder

    ended = servers.down(project_folder(params_file))
    typer.echo(f"Ended {', '.join(ended)}." if ended else "Nothing was running.")


@app.command()
def release(
    target: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_MODEL", help="The model to serve: its id (m-...), name (oeu-seed0) or run."),
    ],
    params_file: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Serve a model of the pipeline from now on: deletion requests are carried out on it."""
    from flows.holding import served_model
    from tasks.release import release as make_champion
    from tasks.workspace import Workspace

    workspace = Workspace.open(params_file)
    with served_model(workspace.root):
        made = make_champion(workspace, target)
    replaced = f", in place of version {made.replaces}" if made.replaces not in (0, made.version) else ""
    typer.echo(f"qunlearn-served version {made.version} is served{replaced}: {made.model_id}, weights {made.digest}")


@app.command()
def lineage(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_MODEL",
            help="Run id, model id (m-...), sha256 of weights, or a name: oeu-seed0, qunlearn-served@champion.",
        ),
    ],
    params_file: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Print the chain from the data's digest to the weights of a model."""
    params = _params(params_file)
    from tasks.tracking import Store
    from tasks.tracking.lineage import as_text
    from tasks.tracking.lineage import lineage as trace

    store = Store.open(params.tracking, root=params_file.resolve().parent)
    typer.echo(as_text(trace(store, target)), nl=False)


@app.command(name="find-models")
def find_models(
    sample: Annotated[
        str,
        typer.Option(
            "--sample",
            metavar="ID",
            help="Id as in data/prepared/ids.txt, or its first 8 characters or more; for your own images also the "
            "file's path below data.root, or its sample_id.",
        ),
    ],
    as_json: AsJson = False,
    params_file: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """List every model that was trained on a sample; exit code 1 if no such sample is known."""
    params, root = _params(params_file), params_file.resolve().parent
    from tasks.pages import mlflow_pages
    from tasks.samples import resolve_sample
    from tasks.tracking import Store
    from tasks.tracking.membership import TrainingLists, models_table

    store = Store.open(params.tracking, root=root, ui=mlflow_pages(root, params))
    lists = TrainingLists.read(store.connection)
    resolved = resolve_sample(sample, root=root, params=params, trained=lists.known())
    found = lists.models_with(resolved)
    if as_json:
        typer.echo(json.dumps({"sample": resolved, "models": [asdict(model) for model in found]}, indent=2))
        return
    typer.echo(f"sample {resolved}")
    typer.echo(models_table(found), nl=False)


def _params(params_file: Path) -> Params:
    from qunlearn.config import load

    return load(params_file)


def _usable_params(params_file: Path) -> Params | None:
    """None where the parameters cannot be used, which is no reason not to tell who answers."""
    from qunlearn.config import ConfigError

    try:
        return _params(params_file)
    except ConfigError:
        return None


def _print_states(states: list[servers.State], experiment: str | None) -> None:
    for state in states:
        typer.echo(f"{state.name:<9} {state.state:<14} {_page(state, experiment):<73} log {state.log}")


def _page(state: servers.State, experiment: str | None) -> str:
    """What to open at a server."""
    from flows.services import EXPERIMENTS, landing_page

    if not state.url:
        return "-"
    if state.name == "mlflow" and state.state == "up" and experiment is not None:
        return landing_page(state.url, experiment)
    return state.url + {"mlflow": EXPERIMENTS, "deletion": "/deployments"}.get(state.name, "")


def main() -> None:
    """Run the command; a mistake of the user is one line on stderr, a mistake of ours keeps its traceback."""
    try:
        app()
    except ValueError as error:
        if not is_ours(error):
            raise
        tell("qunlearn", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
