"""`qunlearn evidence`: what is recorded about a completed deletion request, and whether it is genuine.

What is typed here may name people by mistake: it is never repeated.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from qunlearn.deletion.evidence import Lookup, Recorded
    from qunlearn.deletion.ledger import Ledger

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
        first_fault,
        parse,
        read_evidence,
        verify,
        write_page,
    )
    from qunlearn.deletion.signing import trusted_keys

    root = params_file.resolve().parent
    content = read_evidence(_file(root, request))
    fault = first_fault(verify(content, trusted_keys(root), request=request))
    if fault is not None:
        raise EvidenceError(f"the evidence of {request} cannot be trusted and is not shown: {fault.text}")
    if html is not None:
        write_page(html, evidence_page.render(parse(content)))
    if as_json:
        typer.echo(content, nl=False)
    elif html is None:
        typer.echo(evidence_markdown.plain(evidence_markdown.render(parse(content))), nl=False)


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
    """Check form, signature, request and ledger.

    Exit code 0: no fault was found. 1: a fault, or evidence of a request that the ledger has not completed. The last
    line says whether a ledger was asked at all.
    """
    from qunlearn.deletion.evidence import (
        first_fault,
        is_request_id,
        read_evidence,
        verify,
    )
    from qunlearn.deletion.signing import read_public_key, trusted_keys

    root = params_file.resolve().parent
    ours = is_request_id(target)
    file = _file(root, target) if ours else Path(target)
    # With the file and a key alone an auditor has no ledger; with a request of this project there must be one.
    compared = ours or key is None
    head, recorded = _ledger(root)
    findings = verify(
        read_evidence(file),
        trusted_keys(root) if key is None else [read_public_key(key)],
        request=file.stem if is_request_id(file.stem) else None,
        ledger_head_lookup=head if compared else None,
        recorded=recorded if compared else None,
    )
    for finding in findings:
        typer.echo(f"{'ok' if finding.ok else 'FAULT':<7}{finding.text}")
    fault = first_fault(findings)
    if fault is not None:
        typer.echo(f"The evidence is not genuine, or not of this project: {fault.text}.", err=True)
        raise typer.Exit(1)
    if compared:
        typer.echo("The evidence is genuine.")
    else:
        typer.echo(
            "The document is genuine. It was not compared with a ledger, which would show whether the request was "
            "completed with exactly this document."
        )


def _file(root: Path, request: str) -> Path:
    """Where the evidence of a request lies.

    Raises:
        EvidenceError, LedgerError: it has none, and why.
    """
    from flows.existing_ledger import existing_ledger
    from qunlearn.deletion.evidence import EvidenceError, evidence_file
    from qunlearn.deletion.states import State

    file = evidence_file(root, request)
    ledger = None if file.exists() else existing_ledger(root)
    if ledger is not None:
        found = ledger.request(request)
        if found.state is not State.COMPLETED:
            why = f"{found.state}, {found.reason}" if found.reason else f"{found.state}"
            raise EvidenceError(f"{request} has no evidence: it is {why}; a request has it once it is completed")
    return file


def _ledger(root: Path) -> tuple[Lookup, Recorded]:
    """Look up events and digests of evidence in the project's ledger, which is opened when it is asked first."""

    from qunlearn.deletion.evidence import EvidenceError

    @cache
    def opened() -> Ledger:
        from qunlearn.deletion.ledger import Ledger

        ledger = Ledger.open(root=root, must_exist=True)
        fault = ledger.verify()
        if fault is not None:
            raise EvidenceError(f"there is no sound ledger to compare with: {fault}; run `qunlearn ledger verify`")
        return ledger

    def head(number: int) -> str | None:
        return next((event.hash for event in opened().events() if event.number == number), None)

    def recorded(request: str) -> str | None:
        return opened().evidence_digest(request)

    return head, recorded
