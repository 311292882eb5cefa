"""What every step of a deletion opens: parameters and files, the store, the ledger and the key of names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qunlearn import checkpoint
from qunlearn.checkpoint import Checkpoint
from qunlearn.config import ConfigError
from qunlearn.data.erased import read_erased
from qunlearn.data.imageset import load as load_images
from qunlearn.deletion.evidence import ids_digest
from qunlearn.deletion.identity import Key
from qunlearn.deletion.ledger import Batch, Ledger, Request
from qunlearn.deletion.plan import Known
from qunlearn.deletion.states import FINAL
from tasks.deletion.setbacks import CandidateError
from tasks.pages import mlflow_pages
from tasks.temporary import temporary_folder
from tasks.tracking import Champion, ChampionChangedError, MissingCheckpointError, Store
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Service:
    """The stores of one project's deletions. Cheap to open in every task."""

    workspace: Workspace
    store: Store
    ledger: Ledger
    key: Key

    @classmethod
    def open(cls, params_file: str) -> Service:
        """Reach all of them.

        Raises:
            ConfigError, TrackingError, LedgerError, KeyFileError: the first that cannot be used.
        """
        workspace = Workspace.open(params_file)
        pages = mlflow_pages(workspace.root, workspace.params)
        return cls(
            workspace,
            Store.open(workspace.params.tracking, root=workspace.root, ui=pages),
            Ledger.open(root=workspace.root),
            Key.load(workspace.root),
        )

    def champion(self) -> Champion:
        """The served model.

        Raises:
            ConfigError: none was released yet.
        """
        found = self.store.champion()
        if found is None:
            raise ConfigError(
                "there is no served model that could forget anything; release one first, for example "
                "`qunlearn release original-seed0`"
            )
        return found

    def fetch(self, digest: str, *, model_id: str) -> Checkpoint:
        """A model with its verified weights, on the CPU; the copy on the disk is gone when this returns."""
        with temporary_folder(self.workspace.root) as temporary:
            folder = self.store.fetch(digest, temporary / "checkpoint", model_id=model_id)
            return checkpoint.load(folder, digest=digest)

    def base(self, batch: Batch) -> Champion:
        """The model that the batch was planned for.

        Raises:
            ChampionChangedError: another one is served now.
        """
        base, served = base_of(batch), self.champion()
        if served != base:
            raise ChampionChangedError(
                f"version {base.version} was served when the batch was planned, and version {served.version} is now"
            )
        return base

    def candidate(self, batch: Batch) -> Checkpoint:
        """The model that is to be released, with verified weights.

        Raises:
            CandidateError: its bytes are lost or damaged, or it is not the model of the plan.
        """
        facts = batch.facts["candidate"]
        try:
            found = self.fetch(facts["digest"], model_id=facts["model_id"])
        except MissingCheckpointError as error:
            raise CandidateError(f"{error}; the next run makes the model anew") from None
        if ids_digest(found.trained_ids) != batch.facts["plan"]["retained"]:
            raise CandidateError(
                f"weights {found.digest[:12]}: were not trained on what the plan of {batch.id} retains; the next run "
                "makes the model anew"
            )
        return found

    def known(self, trained: tuple[str, ...]) -> Known:
        """What is known about samples now."""
        image_set = load_images(self.workspace.prepared)
        target = self.workspace.params.data.target
        labels: Mapping[str, int] = dict(zip(image_set.ids, image_set.targets(target).tolist(), strict=True))
        erased = self.workspace.erased
        return Known(
            trained=trained,
            labels=labels,
            class_names=image_set.class_names(target),
            erased=read_erased(erased) if erased.exists() else frozenset(),
            hashed=lambda one: self.key.hashed("sample", one),
        )


def carried(batch: Batch) -> list[Request]:
    """The requests of a batch that are still carried out, in the order in which they came."""
    return [request for request in batch.requests if request.state not in FINAL]


def base_of(batch: Batch) -> Champion:
    """The model that was served when the batch was planned."""
    return Champion(**batch.facts["base"])
