"""Decide what a batch means for the served model, and write the decision into the ledger before anything is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qunlearn.deletion.counted import counted
from qunlearn.deletion.evidence import ids_digest
from qunlearn.deletion.ledger import Batch, State
from qunlearn.deletion.plan import ImagesGoneError, Known, Plan, RequestError, emptied_classes, make_plan
from qunlearn.deletion.records import LONGEST_LINE
from tasks.deletion.erasing import check_is_file
from tasks.deletion.service import Service, carried
from tasks.deletion.setbacks import DataChangedError, MissingImagesError, SetbackError
from tasks.rewriting import RewriteError, check_rewrite
from tasks.tracking import Champion
from tasks.tracking.outages import outages_told


class UnusableDataError(SetbackError):
    """Data, splits or list of erased ids cannot be read, or not be written again, whoever asks for what."""

    reason = "data/prepared, data/splits or data/erased.txt cannot be used as they are"


@task(name="plan", cache_policy=NO_CACHE)
@outages_told()
def plan_batch(params_file: str, batch: Batch) -> Batch:
    """Reject what is impossible; the rest has its plan, and the model it starts from, among the batch's facts.

    Raises:
        ConfigError: no model is served.
        MissingImagesError: images that it was trained on are needed, and are not in the prepared data.
        UnusableDataError: prepared data, splits or list of erased ids are unreadable, links, or do not fit each other.
    """
    service = Service.open(params_file)
    champion = service.champion()
    plan, _ = _plan(service, batch, champion)
    trained = [*plan.forget, *plan.retain]
    for request, why in plan.rejected.items():
        reason = as_reason(why, root=service.workspace.root)
        batch = service.ledger.advance(batch, State.REJECTED, only=[request], reason=reason)
        get_run_logger().warning("rejected request %s: %s", request, reason)
    if not plan.shares:
        return batch
    get_run_logger().info(
        "%s: %s to unlearn, %d to keep, %d to erase",
        counted(len(plan.shares), "request"),
        counted(len(plan.forget), "sample"),
        len(plan.retain),
        len(plan.erase),
    )
    facts: dict[str, Any] = {
        "base": asdict(champion),
        "plan": {
            "shares": {request: asdict(share) for request, share in plan.shares.items()},
            "forget": len(plan.forget),
            "erase": len(plan.erase),
            "retained": ids_digest(plan.retain),
            "base": {"training_ids": ids_digest(trained), "training_samples": len(trained)},
        },
    }
    return service.ledger.advance(batch, State.CLAIMED, facts=facts)


def planned(service: Service, batch: Batch, champion: Champion) -> tuple[Plan, tuple[int, ...]]:
    """The plan that was decided on, with its samples, and the classes that it forgets whole.

    Raises:
        DataChangedError: data or list of erased ids are no longer what the plan was made from.
        UnusableDataError: as from `plan_batch`.
    """
    decided = batch.facts["plan"]
    plan, emptied = _plan(service, batch, champion)
    shares = {request: asdict(share) | {"found": list(share.found)} for request, share in plan.shares.items()}
    if plan.rejected or shares != decided["shares"] or ids_digest(plan.retain) != decided["retained"]:
        raise DataChangedError("the prepared data or data/erased.txt were changed since the batch was planned")
    return plan, emptied


def _plan(service: Service, batch: Batch, champion: Champion) -> tuple[Plan, tuple[int, ...]]:
    trained = service.fetch(champion.digest, model_id=champion.model_id).trained_ids
    known = _known(service, trained)
    requests = carried(batch)
    try:
        plan = make_plan(requests, known)
        if not _is_writable(service, plan.erase):
            # One of them asks for too much: they are asked one by one, each beside those that were accepted before it.
            plan = make_plan(requests, known, check=lambda ids: _check_writable(service, ids))
    except ImagesGoneError as error:
        raise MissingImagesError(str(error)) from None
    if plan.forget and (missing := frozenset(plan.retain) - frozenset(known.labels)):
        raise MissingImagesError(
            f"the served model was trained on {len(missing)} images that are to be kept, and are not in the prepared "
            "data; bring them back with `dvc repro split`, or release a model that was trained on today's data"
        )
    return plan, emptied_classes(plan, known)


def _known(service: Service, trained: tuple[str, ...]) -> Known:
    """What is known about samples.

    Raises:
        UnusableDataError: see there.
    """
    try:
        return service.known(trained)
    except (ValueError, OSError) as error:
        raise _unusable(error) from error


def _is_writable(service: Service, erase: Sequence[str]) -> bool:
    try:
        _check_writable(service, frozenset(erase))
    except RequestError:
        return False
    return True


def _check_writable(service: Service, ids: frozenset[str]) -> None:
    """Refuse what would leave nothing to train or to measure on: after the release it would be too late.

    Raises:
        RequestError: the data can be written as they are, and not without `ids`.
        UnusableDataError: they cannot in either case, which is no fault of a request.
    """
    try:
        check_is_file(service.workspace.erased)
        check_rewrite(service.workspace, ids)
    except RewriteError as error:
        _check_writable_as_it_is(service)
        raise RequestError(str(error)) from None
    except (ValueError, OSError) as error:
        raise _unusable(error) from error


def _check_writable_as_it_is(service: Service) -> None:
    try:
        check_rewrite(service.workspace)
    except (ValueError, OSError) as error:
        raise _unusable(error) from error


def _unusable(error: ValueError | OSError) -> UnusableDataError:
    if isinstance(error, OSError) and error.filename and error.strerror:
        told = f"{error.filename}: {error.strerror}"
    else:
        told = str(error)
    return UnusableDataError(f"{told}; until that is mended the requests wait")


def as_reason(text: str, *, root: Path) -> str:
    """Why a request is rejected, as the ledger takes it: one line, not too long, and nothing of where the project lies.

    Args:
        text: an error's message; it may name files of the project, and classes.
        root: the project's folder. Its path can hold a person's name.
    """
    for place in {str(root), str(root.resolve())}:
        text = text.replace(f"{place}/", "")
    printable = "".join(one if one.isprintable() else " " for one in text)
    line = " ".join(printable.split())
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 4]} ..."
