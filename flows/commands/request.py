"""`qunlearn request`: ask for the erasure of samples, and see what became of it.

What is typed here may name people: it is never repeated, neither in an answer nor in an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from flows.request_text import amount, details, full, summary, table

if TYPE_CHECKING:
    from qunlearn.deletion.ledger import Ledger

UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]  # typer does not export it
UNREADABLE = (
    "these words cannot be read: an option or a command that does not exist, or an option without its value. What was "
    "typed is not repeated here, for it may name a person"
)


class Discreet(TyperGroup):
    """Commands whose mistakes of usage are told without the words that were typed."""

    def make_context(self, *arguments: Any, **options: Any) -> typer.Context:
        with _unrepeated():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: typer.Context) -> Any:
        with _unrepeated():
            return super().invoke(ctx)


@contextmanager
def _unrepeated() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        raise UsageError(UNREADABLE, ctx=error.ctx) from None


app = typer.Typer(
    cls=Discreet,
    help="Ask for the erasure of samples, and see what became of it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ParamsFile = Annotated[Path, typer.Option("--params", help="Parameter file; its folder is the project.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
RequestId = Annotated[str, typer.Argument(metavar="REQUEST", help="Its id, as `qunlearn request list` shows it.")]
DEFAULT_PARAMS = Path("params.yaml")
ANY_WORDS = {"allow_extra_args": True}
"""The command line's own error would repeat words that belong to no option."""
REASONS = ("withdrawn", "duplicate", "mistake")


@app.command(context_settings=ANY_WORDS)
def add(
    context: typer.Context,
    sample: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Id as in data/prepared/ids.txt; for your own images also the file's path below data.root, or its "
            "sample_id. May be given several times.",
        ),
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="SUBJECT", help="All samples of a subject of data.metadata; kept as a hash.")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="All samples of a class or superclass.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Names: the lines of a .txt file, or the column sample_id of a .csv file."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the request is called elsewhere; kept as a hash.")
    ] = None,
    due: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="Until when; one calendar month unless told otherwise.")
    ] = None,
    as_json: AsJson = False,
    params_file: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Request the erasure of samples, named in exactly one of the first four ways."""
    _no_other_words(context, "write --sample before each id, and quotes around a text with spaces")
    from qunlearn.deletion.intake import read_date
    from tasks.intake import submit

    submitted = submit(
        params_file,
        samples=sample or (),
        subject=group,
        class_name=class_name,
        file=file,
        reference=reference,
        due=None if due is None else read_date(due),
    )
    request = submitted.request
    if as_json:
        typer.echo(json.dumps({**summary(request, overdue=False), "told": submitted.told}, indent=2))
        return
    typer.echo(f"{request.id}  {amount(request)}, due {request.asked.due}")
    for sentence in submitted.told:
        typer.echo(sentence)


@app.command(name="list")
def list_requests(as_json: AsJson = False, params_file: ParamsFile = DEFAULT_PARAMS) -> None:
    """List all requests, the oldest first."""
    ledger = _ledger(params_file)
    overdue = _overdue(ledger)
    requests = ledger.requests()
    if as_json:
        typer.echo(json.dumps([summary(one, overdue=one.id in overdue) for one in requests], indent=2))
        return
    typer.echo(table(requests, overdue=overdue))


@app.command()
def show(request: RequestId, as_json: AsJson = False, params_file: ParamsFile = DEFAULT_PARAMS) -> None:
    """Show one request, with its samples and its events."""
    ledger = _ledger(params_file)
    found = ledger.request(request)
    content = full(found, ledger.events(request=found.id), overdue=found.id in _overdue(ledger))
    typer.echo(json.dumps(content, indent=2) if as_json else details(content))


@app.command()
def cancel(
    request: RequestId,
    reason: Annotated[str, typer.Option(help=f"One of {', '.join(REASONS)}.")] = REASONS[0],
    as_json: AsJson = False,
    params_file: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Cancel a request that no run of the deletion flow has claimed yet."""
    if reason not in REASONS:
        # The reason is stored, and a text of one's own might name somebody.
        raise ValueError(f"--reason must be one of {', '.join(REASONS)}")
    cancelled = _ledger(params_file).cancel(request, f"cancelled: {reason}")
    if as_json:
        typer.echo(json.dumps(summary(cancelled, overdue=False), indent=2))
        return
    typer.echo(f"{cancelled.id} is cancelled; nothing was erased.")


@app.command(name="hash", context_settings=ANY_WORDS)
def hash_identity(
    context: typer.Context,
    subject: Annotated[str | None, typer.Option(metavar="TEXT", help="A subject, as in data.metadata.")] = None,
    reference: Annotated[str | None, typer.Option(metavar="TEXT", help="A reference, as it was given.")] = None,
    as_json: AsJson = False,
    params_file: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Print the keyed hash under which a subject or a reference is kept, to look it up."""
    _no_other_words(context, "write quotes around a text with spaces")
    from qunlearn.deletion.identity import Key

    root = _project(params_file)
    if subject is not None and reference is None:
        hashed = Key.load(root).hashed("subject", subject)
    elif reference is not None and subject is None:
        hashed = Key.load(root).hashed("reference", reference)
    else:
        raise ValueError("give either --subject or --reference")
    typer.echo(json.dumps({"hash": hashed}) if as_json else hashed)


def _no_other_words(context: typer.Context, fix: str) -> None:
    if context.args:
        raise ValueError(f"{len(context.args)} words of the command line belong to no option; {fix}")


def _project(params_file: Path) -> Path:
    """The project's folder; ConfigError where there is none, before anything is made in it."""
    from qunlearn.config import load

    load(params_file)
    return params_file.resolve().parent


def _ledger(params_file: Path) -> Ledger:
    from qunlearn.deletion.ledger import Ledger

    return Ledger.open(root=_project(params_file), must_exist=True)


def _overdue(ledger: Ledger) -> set[str]:
    return {one.id for one in ledger.overdue(datetime.now(UTC).date())}
