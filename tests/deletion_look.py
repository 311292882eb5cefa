"""All that a deletion leaves behind, in a form that is equal for equal work: without ids, times and signatures."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from deletion_project import Served, git

from qunlearn.deletion.ledger import Request, State
from tasks.tracking.checkpoints import DIGEST_TAG, is_intact
from tasks.tracking.markdown import NOTE_TAG
from tasks.tracking.registry import SERVED

MASKS = (
    (r"\b([rbtm])-[0-9a-f]{16,32}\b", r"\1-"),
    (r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", "<run>"),
    (r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)", "<time>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)? UTC", "<time>"),
)
"""Ids of requests, batches, tokens, models and runs, and times."""
OWN = frozenset({"batch", "erased_at", "files_sha256"})
"""Tags of models and versions that differ each time, or are compared by what they stand for."""


def look(root: Path, out: Path, *, whole: bool) -> None:
    """What an observer sees now, as JSON; with `whole` also what only holds when all is done."""
    served = Served(root)
    out.write_text(json.dumps(_now(served) | (_whole(served) if whole else {})))


def _now(served: Served) -> dict[str, Any]:
    """What must make sense at any moment; the champion must be fetched and verified for that."""
    # First the list: who is on it must be unknown to the model that is served from then on.
    erased = served.workspace.erased.read_text().splitlines()
    champion = served.champion
    with tempfile.TemporaryDirectory() as temporary:
        trained = served.made(Path(temporary)).trained_ids
    fault = served.ledger.verify()
    return {
        "champion": champion.version,
        "digest": champion.digest,
        "trained": sorted(trained),
        "erased": erased,
        "versions": served.versions(),
        "fault": None if fault is None else str(fault),
        "commits": int(git(served.root, "rev-list", "--count", "HEAD")),
    }


def _whole(served: Served) -> dict[str, Any]:
    requests = served.ledger.requests()
    return {
        "requests": [[one.state, one.outcome, one.attempts, one.reason] for one in requests],
        "batches": len({one.batch for one in requests}),
        "events": [event.kind for event in served.ledger.events() if event.kind != "taken over"],
        "data": sorted(served.data_ids()),
        "temporary": _temporary(served),
        **_git(served),
        **_store(served),
        **_evidence(served, [one for one in requests if one.state is State.COMPLETED]),
    }


def _temporary(served: Served) -> list[str]:
    """Files in the folder for temporary ones that are the first model's weights or name an erased sample."""
    first = served.store.connection.client.get_model_version(SERVED, "1").tags[DIGEST_TAG]
    names = [one.encode() for one in served.erased]
    files = [path for path in Path(tempfile.gettempdir()).rglob("*") if path.is_file()]
    contents = {str(path): path.read_bytes() for path in files}
    return [
        path
        for path, content in contents.items()
        if hashlib.sha256(content).hexdigest() == first or any(name in content for name in names)
    ]


def _git(served: Served) -> dict[str, Any]:
    """The list of erased ids in the repository."""
    root = served.root
    return {
        "history": _masked(git(root, "log", "--format=%s")).splitlines(),
        "changed": git(root, "show", "--format=", "--name-only", "HEAD").splitlines(),
        "committed": git(root, "show", "HEAD:data/erased.txt").splitlines(),
        "status": git(root, "status", "--porcelain").splitlines(),
    }


def _store(served: Served) -> dict[str, Any]:
    """Runs, models, versions and files; of those that a death cut short only that they are marked so."""
    connection = served.store.connection
    runs, models = list(connection.runs("")), list(connection.models())
    cut = {run.info.run_id for run in runs if run.info.status == "KILLED"}
    kept = [model for model in models if model.source_run_id not in cut]
    versions = connection.client.search_model_versions(f"name = '{SERVED}'")
    return {
        "statuses": sorted({str(run.info.status) for run in runs}),
        "runs": sorted([str(run.info.run_name), *_described(run)] for run in runs if run.info.run_id not in cut),
        "models": [[model.name, str(model.status), _tags(model.tags)] for model in kept],
        "intact": [model.tags[DIGEST_TAG] for model in models if is_intact(connection, model)],
        "registered": _masked(connection.client.get_registered_model(SERVED).description),
        "described": [[int(one.version), _tags(one.tags), _masked(one.description)] for one in versions],
        "files": _files(served.root, without=cut),
    }


def _described(run: Any) -> list[str]:
    """What a run's page says; that of a run with others below it tells of those that were cut short, too."""
    return [_masked(run.data.tags.get(NOTE_TAG, ""))] if run.data.tags.get("kind") == "cell" else []


def _tags(tags: dict[str, str]) -> dict[str, str]:
    return {key: _masked(value) for key, value in sorted(tags.items()) if key not in OWN}


def _masked(text: str) -> str:
    for pattern, short in MASKS:
        text = re.sub(pattern, short, text)
    return text


def _files(root: Path, *, without: set[str]) -> list[list[str]]:
    """Every file of the project, with the digest of those whose content is always the same.

    Args:
        without: runs whose files do not count.
    """
    found = []
    for path in root.rglob("*"):
        name = path.relative_to(root)
        # Databases, locks and git's own files are looked at through those who keep them.
        if not path.is_file() or ".git" in name.parts or re.search(r"\.(lock|db(-\w+)?)$", name.name):
            continue
        if without.intersection(name.parts):
            continue
        same = name.parts[0] == "data" or name.parts[:2] == ("mlartifacts", "models")
        found.append([_masked(str(name)), hashlib.sha256(path.read_bytes()).hexdigest() if same else ""])
    return sorted(found)


def _evidence(served: Served, requests: list[Request]) -> dict[str, Any]:
    """Each completed request's document, which must verify, and the things that the purge says it removed."""
    documents, removed = [], []
    for request in requests:
        document = served.evidence(request).model_dump(mode="json")
        assert document["request"].pop("id") == request.id
        # Where the chain stood: further, where processes took over from others.
        document.pop("ledger")
        head = git(served.root, "rev-parse", "HEAD")
        document["digests"]["erased_commit"] = document["digests"]["erased_commit"] == head
        document["tool"]["git_commit"] = document["tool"]["git_commit"] == head
        if document["purge"] is not None:
            removed.append([json.loads(_masked(json.dumps(one))) for one in document["purge"].pop("objects")])
            document["purge"]["scan"]["places"] = [one["what"] for one in document["purge"]["scan"]["places"]]
        documents.append(json.loads(_masked(json.dumps(document))))
    return {"evidence": documents, "removed": removed}
