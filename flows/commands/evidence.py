"""`qunlearn evidence`: what is recorded about a completed deletion request, and whether it is genuine.

What is typed here may name people by mistake: it is never repeated.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qunlearn.deletion.evidence import Lookup

app = typer.Typer(
    help="The evidence of completed deletion requests: show it, and check whether it is genuine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ParamsFile = Annotated[Path, typer.Option("--params", help="Parameter file; its folder is the project.")]
DEFAULT_PARAMS = Path("params.yaml")


@app.command()
def show(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="Its id, as `qunlearn request list` shows it.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the signed file, byte for byte, for other programs.")
    ] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page to a file instead.")] = None,
    params_file: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Show the evidence of a request; what does not verify is not shown."""
    from qunlearn.deletion import evidence_markdown, evidence_page
    from qunlearn.deletion.evidence import (
        EvidenceError,
        evidence_file,
        first_fault,
        parse,
        read_evidence,
        verify,
        write_page,
    )
    from qunlearn.deletion.signing import trusted_keys

    root = params_file.resolve().parent
    content = read_evidence(evidence_file(root, request))
    fault = first_fault(verify(content, trusted_keys(root), request=request))
    if fault is not None:
        raise EvidenceError(f"the evidence of {request} cannot be trusted and is not shown: {fault.text}")
    if html is not None:
        write_page(html, evidence_page.render(parse(content)))
    if as_json:
        typer.echo(content, nl=False)
    elif html is None:
        typer.echo(evidence_markdown.render(parse(content)), nl=False)


@app.command(name="verify")
def verify_evidence(
    target: Annotated[str, typer.Argument(metavar="REQUEST|FILE", help="Id of a request, or a file with evidence.")],
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Trust this public key alone, not those of the project. A FILE is then not compared with the ledger.",
        ),
    ] = None,
    params_file: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Check form, signature, request and ledger; exit code 1 with the first fault."""
    from qunlearn.deletion.evidence import (
        evidence_file,
        first_fault,
        is_request_id,
        read_evidence,
        verify,
    )
    from qunlearn.deletion.signing import read_public_key, trusted_keys

    root = params_file.resolve().parent
    ours = is_request_id(target)
    file = evidence_file(root, target) if ours else Path(target)
    findings = verify(
        read_evidence(file),
        trusted_keys(root) if key is None else [read_public_key(key)],
        request=file.stem if is_request_id(file.stem) else None,
        # With the file and a key alone an auditor has no ledger; with a request of this project there must be one.
        ledger_head_lookup=_events(root) if ours or key is None else None,
    )
    for finding in findings:
        typer.echo(f"{'ok' if finding.ok else 'FAULT':<7}{finding.text}")
    fault = first_fault(findings)
    if fault is not None:
        typer.echo(f"The evidence is not genuine, or not of this project: {fault.text}.", err=True)
        raise typer.Exit(1)
    typer.echo("The evidence is genuine.")


def _events(root: Path) -> Lookup:
    """Looks up events of the project's ledger, which is opened when it is asked first."""

    def lookup(number: int) -> str | None:
        from qunlearn.deletion.ledger import Ledger

        events = Ledger.open(root=root, must_exist=True).events()
        return next((event.hash for event in events if event.number == number), None)

    return lookup
