"""The lasting acts of a deletion: each is told when it is done, and a process can be killed right after one of them."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from qunlearn.deletion.ledger import Batch, Ledger, State
from tasks.deletion import erasing, purge, unlearning
from tasks.deletion.completion import evidence as written
from tasks.purge_notes import Notes
from tasks.tracking import Store
from tasks.tracking.run import Run

NOTHING = "claim: nothing"
"""The claim after the work: no act of it."""


class Acts:
    """Writes down what this process has done, and kills it after one of the acts.

    Args:
        notes: a line for each act of a process that was watched, also of its predecessors.
        last: the act after which to die; None for none.
        known: die after the first act that is not among these; None for none.
    """

    def __init__(self, notes: Path, *, last: str | None = None, known: Iterable[str] | None = None) -> None:
        self.notes, self.last = notes, last
        self.known = None if known is None else frozenset(known)
        self.times: Counter[str] = Counter()

    def act(self, name: str) -> None:
        self.times[name] += 1
        act = name if self.times[name] == 1 else f"{name}, time {self.times[name]}"
        with self.notes.open("a") as file:
            file.write(f"{act}\n")
        if act == self.last or (self.known is not None and act not in self.known and act != NOTHING):
            os.kill(os.getpid(), signal.SIGKILL)

    def after(self, owner: Any, name: str, label: str) -> None:
        """Let each call of `owner.name` count when it is done."""
        original = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            result = original(*args, **options)
            self.act(label)
            return result

        setattr(owner, name, counted)

    def watch(self) -> None:
        """All that a process which goes on could find: what was written, in whatever store."""
        self._watch_ledger()
        # In the midst of a run that is RUNNING in the store, without and with a model.
        self.after(unlearning, "run_method", "unlearned in memory")
        self.after(Run, "output_model", "model stored")
        self.after(unlearning, "_made", "run finished")
        self.after(Store, "register", "version registered")
        # Two writes to the store: the alias, and what the page says.
        self.after(MlflowClient, "set_registered_model_alias", "alias moved")
        self.after(Store, "set_champion", "champion set")
        self.after(erasing, "append_erased", "ids appended")
        self.after(erasing, "_commit", "committed")
        self._watch_purge()
        self.after(Notes, "forget", "purge closed")
        self.after(written, "write_evidence", "evidence written")
        self.after(Run, "text", "evidence published")

    def _watch_ledger(self) -> None:
        claim, advance = Ledger.claim, Ledger.advance

        def claimed(ledger: Ledger, worker: Any) -> Batch | None:
            batch = claim(ledger, worker)
            self.act(NOTHING if batch is None else "claim")
            return batch

        def advanced(ledger: Ledger, batch: Batch, to: State, **options: Any) -> Batch:
            result = advance(ledger, batch, to, **options)
            facts = options.get("facts") or {}
            told = [f"{name}{': done' if name == 'erased' and facts[name]['after'] else ''}" for name in sorted(facts)]
            self.act(", ".join([f"ledger: {to}", *told]))
            return result

        Ledger.claim, Ledger.advance = claimed, advanced  # type: ignore[method-assign]

    def _watch_purge(self) -> None:
        purged = purge.purge

        def stepwise(*args: Any, **options: Any) -> Any:
            tell = options["on_step"]

            def step(name: str) -> None:
                tell(name)
                self.act(f"purge: {name}")

            return purged(*args, **{**options, "on_step": step})

        purge.purge = stepwise  # type: ignore[assignment]
