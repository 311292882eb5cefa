"""All requests of one seed, in order: references, the untouched original, and each method in each arm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.sequential import measuring, models
from benchmarks.sequential.ground import Ground
from benchmarks.sequential.kept import Kept, Row
from benchmarks.sequential.setting import ARMS, Setting
from tasks.deletion.methods import RETRAIN, method_names

ORIGINAL = "original"
REFERENCE = "reference"


@dataclass(frozen=True)
class _Served:
    """The model in use: its key among those kept, and its unlearnings in a row since it was last fully trained."""

    key: str
    sequential: int


@dataclass(frozen=True)
class Course:
    """One seed of a study."""

    setting: Setting
    ground: Ground
    seed: int
    kept: Kept
    progress: Callable[[str], None]

    def rows(self) -> Iterator[Row]:
        """One row for each request and model: `seed`, `request`, `arm`, `method`, `made_by`, its figures and cost.

        The rows of an arm that is still the same as the other one are of the same models, which are made once.
        """
        self._original()
        served = {(arm, method): _Served(ORIGINAL, 0) for arm in ARMS for method in self.setting.methods}
        for request in range(1, self.setting.requests + 1):
            for copy in range(self.setting.references):
                yield self._row(request, REFERENCE, str(copy), self._reference(request, copy))
            yield self._row(request, ORIGINAL, ORIGINAL, self._untouched(request))
            for (arm, method), now in served.items():
                found = self._next(arm, method, now, request)
                sequential = 0 if found["made_by"] == RETRAIN else now.sequential + 1
                served[arm, method] = _Served(found["key"], sequential)
                yield self._row(request, arm, method, {**found, "sequential": sequential})
            self.progress(f"seed {self.seed}: request {request} of {self.setting.requests}")

    def _row(self, request: int, arm: str, method: str, found: Row) -> Row:
        return {"seed": self.seed, "request": request, "arm": arm, "method": method, **found}

    def _original(self) -> Row:
        if (found := self.kept.find(ORIGINAL)) is not None:
            return found
        made = models.trained(self.ground, self.ground.train, seed=self.seed, purpose=ORIGINAL)
        digest = self.kept.save(ORIGINAL, made.model, self.ground, request=0)
        return self.kept.add(ORIGINAL, {"digest": digest, "made_by": ORIGINAL, **made.cost})

    def _untouched(self, request: int) -> Row:
        key = f"{ORIGINAL}/{request}"
        if (found := self.kept.find(key)) is not None:
            return found
        model = self.kept.load(ORIGINAL).model
        return self.kept.add(
            key, {"made_by": ORIGINAL, "metrics": measuring.figures(model, self.ground, request=request)}
        )

    def _reference(self, request: int, copy: int) -> Row:
        key = f"{REFERENCE} {copy}/{request}"
        if (found := self.kept.find(key)) is not None:
            return found
        made = models.reference(self.ground, request=request, seed=self.seed, copy=copy)
        return self.kept.add(key, {"made_by": RETRAIN, **made.cost, **self._measured(made, request)})

    def _next(self, arm: str, method: str, now: _Served, request: int) -> Row:
        """The model after a request; found where the other arm has made it, or an earlier run."""
        params = self.setting.arm(arm, method, self.ground.params)
        name = method_names(params, sequential=now.sequential)[0]
        before = self.kept.find(now.key)
        assert before is not None, "kept when it was made"
        key = f"{name}/{before['digest']}/{request}"
        if (found := self.kept.find(key)) is not None:
            return found
        parent = self.kept.load(now.key)
        choice = self.setting.choice(name, params)
        made = models.following(self.ground, parent, choice, request=request, seed=self.seed)
        judged = measuring.gates(
            parent.model,
            made.model,
            self.ground,
            request=request,
            seed=models.next_seed(self.seed, parent),
            retrained=name == RETRAIN,
        )
        digest = self.kept.save(key, made.model, self.ground, request=request)
        own = {"digest": digest, "made_by": name, **made.cost, "gates": judged}
        return self.kept.add(key, {**own, **self._measured(made, request)})

    def _measured(self, made: models.Made, request: int) -> dict[str, Any]:
        original = self.kept.load(ORIGINAL).model
        return {
            "metrics": measuring.figures(made.model, self.ground, request=request),
            "code_flips": measuring.flips(original, made.model),
        }
