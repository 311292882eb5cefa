"""The search for a row's settings: every candidate of its grid once, on the first seed, and the best one stays.

A trial is an ordinary cell of the stage `unlearn`. It hangs below the run of its search in MLflow, has the fingerprint
of the final cell with the same settings, and so is found again: by that cell, by a search that was killed, by other
rows and other studies. A candidate that diverges has no score and is never chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from qunlearn.config import ConfigError
from qunlearn.data import imageset
from qunlearn.data.splits import load_split
from qunlearn.unlearning import Choice
from tasks.assignments import Assignment, Once, Outcome, Trial
from tasks.cells import CellContext
from tasks.manifests import Cell
from tasks.scoring import Score, score_by_oracle, score_by_validation
from tasks.search_notes import describe_search
from tasks.selection import Selection, Tried, best
from tasks.tracking import Run, Store
from tasks.tracking.cards import CHOSEN_TAG
from tasks.tracking.names import REGISTERED_TAG
from tasks.unlearning import unlearned
from tasks.workspace import Workspace


@task(name="trial", task_run_name="{assignment.label}", cache_policy=NO_CACHE)
def try_candidate(workspace: Workspace, context: CellContext, assignment: Assignment) -> Outcome:
    """Unlearn with a candidate's settings; divergence is a result, not an error."""
    return unlearned(workspace, context, assignment)


def select(
    store: Store,
    workspace: Workspace,
    context: CellContext,
    choices: Mapping[str, Choice],
    *,
    originals: Mapping[int, Cell],
    retrained: Mapping[int, Cell],
) -> dict[str, Selection]:
    """The settings of each row: those of the parameters, or the best of its grid on the first of the seeds.

    Called inside a flow, whose runner computes the trials. All are handed to it before the first one is waited for; one
    that is a trial of two rows is computed for the first.

    Args:
        originals, retrained: by seed. Only a row with `oracle: true` looks at the retrained model.

    Raises:
        ConfigError: all candidates of a row diverged, a line for each; or no validation image can score a search.
    """
    asked = [choice for choice in choices.values() if choice.candidates]
    _check_validation(workspace, [choice.name for choice in asked if not choice.oracle])
    seed = workspace.params.seeds[0]
    with ExitStack() as all_runs:
        searches: list[tuple[_Search, ExitStack]] = []
        for choice in asked:
            own = all_runs.enter_context(ExitStack())
            run = own.enter_context(_open(store, workspace, context, choice))
            searches.append((_Search(store, workspace, choice, run), own))
        once: Once[Outcome] = Once()
        trials = [search.submit(context, originals[seed], once) for search, _ in searches]
        found = _decisions(searches, trials, originals[seed], retrained.get(seed))
    return {name: found.get(name) or Selection(choice, choice.base) for name, choice in choices.items()}


def _decisions(
    searches: Sequence[tuple[_Search, ExitStack]],
    trials: Sequence[Sequence[PrefectFuture[Outcome]]],
    original: Cell,
    retrained: Cell | None,
) -> dict[str, Selection]:
    """What each search found, by row. One without a result fails alone; it is told when all have ended.

    Args:
        searches: each with what ends its run.
    """
    found: dict[str, Selection] = {}
    problems: dict[str, None] = {}
    for (search, run), submitted in zip(searches, trials, strict=True):
        try:
            with run:
                selection = search.decide(submitted, original, retrained)
        except ConfigError as error:
            problems[str(error)] = None
            continue
        # Only now: when a run ends, the store writes a description of its own.
        describe_search(search.store, search.run, selection, seed=original.seed)
        found[search.choice.name] = selection
    if problems:
        raise ConfigError("\n".join(problems))
    return found


def _check_validation(workspace: Workspace, rows: Sequence[str]) -> None:
    """Refuse, before anything is computed, searches that no validation image could score.

    Args:
        rows: those that are searched on validation images.

    Raises:
        ConfigError: no validation image is of a class of the forget set, or none lies outside the forgotten classes.
    """
    if not rows:
        return
    image_set, split = imageset.load(workspace.prepared), load_split(workspace.splits)
    labels = image_set.targets(split.manifest["target"])
    forget = set(labels[split.indices(image_set, partition="train", subset="forget").numpy()].tolist())
    validation = set(labels[split.indices(image_set, partition="validation").numpy()].tolist())
    start = ", ".join(f"unlearn.{name}.grid" for name in rows)
    start += f": cannot be searched with split.validation = {split.manifest['validation']}"
    if not forget & validation:
        raise ConfigError(
            f"{start}: validation images are of classes {sorted(validation)}, forget images of {sorted(forget)}, with "
            "none in common; raise split.validation, or take the grid out"
        )
    forgotten = set(split.manifest["forgotten_classes"] or ())
    if validation <= forgotten:
        raise ConfigError(
            f"{start}: no validation image lies outside the forgotten classes {sorted(forgotten)}; "
            "raise split.validation, forget fewer classes, or take the grid out"
        )


def _open(store: Store, workspace: Workspace, context: CellContext, choice: Choice) -> AbstractContextManager[Run]:
    seed = workspace.params.seeds[0]
    given = workspace.params.unlearn[choice.name]
    own = {"method": choice.name, REGISTERED_TAG: choice.method, "seed": seed, "selected_by": choice.selected_by}
    tags = context.tags(choice.name, seed, registered=choice.method)
    return store.search(
        f"search {choice.name}",
        context.stage_run,
        tags={**tags, "selected_by": choice.selected_by},
        params={**given, **own},
    )


@dataclass(frozen=True)
class _Search:
    """One row's search, and its run in MLflow."""

    store: Store
    workspace: Workspace
    choice: Choice
    run: Run

    def submit(self, context: CellContext, original: Cell, once: Once[Outcome]) -> list[PrefectFuture[Outcome]]:
        below = replace(context, stage_run=self.run.id)
        row, method = self.choice.name, self.choice.method
        return [
            once.submit(
                try_candidate,
                self.workspace,
                below,
                Assignment(row, method, original.seed, original, candidate.config, Trial(number, candidate.label)),
            )
            for number, candidate in enumerate(self.choice.candidates, start=1)
        ]

    def decide(self, submitted: Sequence[PrefectFuture[Outcome]], original: Cell, retrained: Cell | None) -> Selection:
        outcomes = [future.result() for future in submitted]
        scores = self._scores(outcomes, original, retrained)
        tried = tuple(map(Tried, self.choice.candidates, outcomes, scores))
        chosen = best(scores)
        config = self.choice.base if chosen is None else self.choice.candidates[chosen].config
        selection = Selection(self.choice, config, tried, chosen)
        self._record(selection)
        if chosen is None:
            reasons = "; ".join(f"{one.candidate.label}: {one.failure}" for one in tried)
            raise ConfigError(
                f"unlearn.{self.choice.name}.grid: every candidate diverged, so none can be chosen "
                f"({reasons}); try lower learning rates"
            )
        return selection

    def _scores(self, outcomes: Sequence[Outcome], original: Cell, retrained: Cell | None) -> list[Score]:
        futures: list[PrefectFuture[Score] | None] = []
        for outcome in outcomes:
            if outcome.digest is None:
                futures.append(None)
                continue
            cell = Cell(self.choice.name, original.seed, outcome.digest, self.choice.method)
            if not self.choice.oracle:
                futures.append(score_by_validation.submit(self.workspace, cell, original))
            elif retrained is None:
                raise ValueError(f"no retrained model of seed {original.seed} was given for an oracle's choice")
            else:
                futures.append(score_by_oracle.submit(self.workspace, cell, retrained))
        return [Score(None) if future is None else future.result() for future in futures]

    def _record(self, selection: Selection) -> None:
        """Scores as metrics over the trials' numbers, all of it as JSON, and the winner as tags."""
        entry = selection.entry()
        for number, (row, tried) in enumerate(zip(entry["trials"], selection.trials, strict=True), start=1):
            row["run_id"] = tried.outcome.run_id
            if tried.score.value is not None:
                self.run.metrics({"score": tried.score.value, **tried.score.terms}, step=number)
        self.run.json("search.json", entry)
        if selection.chosen is not None:
            winner = selection.trials[selection.chosen]
            self.run.tag(
                {
                    "chosen": winner.candidate.label,
                    CHOSEN_TAG: winner.outcome.run_id,
                    "chosen_sha256": winner.outcome.digest,
                }
            )
            self.store.run(winner.outcome.run_id).tag({f"chosen_by_{self.choice.selected_by}": "true"})
        for tried in selection.trials:
            self.store.settle_trial(tried.outcome.run_id, search=self.run.id)
