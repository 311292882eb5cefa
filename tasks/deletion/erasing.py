"""Write a batch's samples into the list of erased ids, and commit that file alone."""

from __future__ import annotations

from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qunlearn.data.erased import append_erased, digest
from qunlearn.deletion.counted import counted
from qunlearn.deletion.ledger import Batch, State
from tasks.deletion.service import Service, carried
from tasks.git import GitError, git, repository_of
from tasks.tracking.outages import outages_told

AUTHOR = ("-c", "user.name=qunlearn", "-c", "user.email=qunlearn@localhost")
"""Who commits where git does not know who does."""
GIT_SECONDS = 120.0
"""Time for one git command, with its hooks."""


class CommitError(ValueError):
    """The list of erased ids is written, but git refuses to commit it; or it is a link, and nothing was written."""


@task(name="erase", cache_policy=NO_CACHE)
@outages_told()
def erase_samples(params_file: str, batch: Batch) -> Batch:
    """The batch with the digests of the list before and after, and its commit, among its facts.

    Raises:
        ChampionChangedError: nothing was to be unlearned, and another model is served now.
        CommitError: git refuses, or the list is a link.
    """
    service = Service.open(params_file)
    path, ledger = service.workspace.erased, service.ledger
    check_is_file(path)
    if batch.state is State.CLAIMED:
        # Whether a model must unlearn the samples was asked of that one.
        service.base(batch)
    if "erased" not in batch.facts:
        # Before anything is written: afterwards nobody could tell what the file was.
        before = digest(path) if path.exists() else None
        batch = ledger.advance(batch, batch.state, facts={"erased": {"before": before, "after": None, "commit": None}})
    added = append_erased(path, erased_ids(batch))
    commit = _commit(path, batch.id, service.workspace.root)
    get_run_logger().info("%s added to %s", counted(len(added), "id"), path.name)
    facts = {**batch.facts["erased"], "after": digest(path), "commit": commit}
    return ledger.advance(batch, batch.state, facts={"erased": facts})


def check_is_file(path: Path) -> None:
    """Refuse a link in the place of the list of erased ids.

    Raises:
        CommitError: git would commit the link, and the ids would lie outside of the project, in no commit.
    """
    if path.is_symlink():
        raise CommitError(
            f"{path}: is a link, of which git would commit the address and no id; put the file itself there"
        )


def erased_ids(batch: Batch) -> list[str]:
    """All samples that the batch's requests name."""
    shares = batch.facts["plan"]["shares"]
    return list(
        dict.fromkeys(
            sample for request in carried(batch) for sample in (*request.asked.samples, *shares[request.id]["found"])
        )
    )


def _commit(path: Path, batch: str, root: Path) -> str | None:
    """The commit that holds the file as it is; None outside of a repository, or where git ignores the file.

    Raises:
        CommitError: git refuses, or cannot use the repository that is there.
    """
    if _git(root, "rev-parse", "--is-inside-work-tree") is None:
        if (there := repository_of(root)) is not None:
            raise CommitError(
                f"{path}: git cannot use the repository of {there}, or is not installed; `git -C {root} status` says "
                "why; then let the deletion run again"
            )
        return None
    if _git(root, "check-ignore", str(path)) is not None:
        return None
    if _git(root, "add", "--", str(path)) is None:
        raise CommitError(f"{path}: git cannot add it; `git add {path}` says why; then let the deletion run again")
    changed = _git(root, "status", "--porcelain", "--", str(path))
    if changed is None:
        raise CommitError(
            f"{path}: git cannot tell whether it was changed; see `git status`, then let the deletion run again"
        )
    if changed:
        known = _git(root, "config", "user.email") is not None
        command = ["commit", "--quiet", "--only", "-m", f"Erase the samples of {batch}", "--", str(path)]
        if _git(root, *(() if known else AUTHOR), *command) is None:
            raise CommitError(f"{path}: git cannot commit it; see `git status`, then let the deletion run again")
    commit = _git(root, "log", "-1", "--format=%H", "--", str(path))
    if not commit:
        raise CommitError(
            f"{path}: git does not tell in which commit it is; see `git log`, then let the deletion run again"
        )
    return commit


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails or there is none."""
    try:
        return git(root, *arguments, timeout=GIT_SECONDS)
    except GitError as error:
        raise CommitError(f"data/erased.txt: {error}; end or mend it, then let the deletion run again") from None
