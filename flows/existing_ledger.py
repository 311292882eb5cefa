"""The project's ledger where there is one already: to look at it must not make it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qunlearn.deletion.ledger import Ledger


def existing_ledger(root: Path) -> Ledger | None:
    """The ledger; None where the project has none yet.

    Raises:
        LedgerError: it cannot be read; or there is none any more, though requests have been completed.
    """
    # SQLAlchemy takes part of a second, and many projects have no ledger.
    from qunlearn.deletion import ledger_files  # noqa: PLC0415
    from qunlearn.deletion.ledger_place import SqliteFile, place  # noqa: PLC0415

    where = place(None, root=root)
    if isinstance(where, SqliteFile) and not ledger_files.exists(where):
        _check_none_is_lost(root)
        return None
    from qunlearn.deletion.ledger import Ledger  # noqa: PLC0415
    from qunlearn.deletion.ledger_database import Database  # noqa: PLC0415
    from qunlearn.deletion.migration import has_tables  # noqa: PLC0415

    if not isinstance(where, SqliteFile) and not has_tables(Database.at(where)):
        _check_none_is_lost(root)
        return None

    return Ledger.open(root=root, must_exist=True)


def _check_none_is_lost(root: Path) -> None:
    from qunlearn.deletion.evidence_heads import EARLIER, FOLDER, documents  # noqa: PLC0415
    from qunlearn.deletion.records import LedgerError  # noqa: PLC0415

    found = documents(root)
    if found:
        raise LedgerError(
            f"the ledger is gone: there is none, but {FOLDER} has evidence of completed requests; restore the newest "
            f"backup of the ledger, or if there is none move the evidence to {EARLIER} (docs/operations.md, After a "
            "restore)"
        )
