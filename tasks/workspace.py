"""Where the files of a pipeline lie, with its parameters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from qunlearn.config import ConfigError, Params, load
from qunlearn.unlearning import choices, get
from qunlearn.unlearning.grid import row_or_method
from qunlearn.unlearning.problem import check_adjacency, needs_adjacency


@dataclass(frozen=True)
class Workspace:
    """A checkout of the pipeline: its parameters and the paths of its files."""

    root: Path
    params: Params

    @classmethod
    def open(cls, params_file: Path | str = "params.yaml") -> Workspace:
        """Read and check the parameters; the folder of the file is the root of all other paths.

        Raises:
            ConfigError: with one line per problem, those of the methods' own settings included.
        """
        path = Path(params_file).resolve()
        params = load(path)
        rows = choices(params.unlearn, where=path.name)
        needs = {f"unlearn.{row}": get(choice.method).needs for row, choice in rows.items()}
        check_adjacency(needs, params.split.scenario, where=path.name)
        named = {"deletion.method": params.deletion.method}
        named |= {f"deletion.fallback.{place}": name for place, name in enumerate(params.deletion.fallback)}
        for key, name in named.items():
            deletion = row_or_method(name, params.unlearn, where=path.name, key=key)
            if needs_adjacency(get(deletion.method).needs):
                raise ConfigError(
                    f"{path.name}: {key} = {name!r}: needs adjacent and remote images, which a deletion request does "
                    "not name; choose another method"
                )
        return cls(root=path.parent, params=params)

    @property
    def prepared(self) -> Path:
        return self.root / "data" / "prepared"

    @property
    def splits(self) -> Path:
        return self.root / "data" / "splits"

    @property
    def erased(self) -> Path:
        return self.root / "data" / "erased.txt"

    @property
    def evaluation(self) -> Path:
        return self.root / "metrics" / "evaluation.json"

    @property
    def report(self) -> Path:
        return self.root / "report"

    def models(self, stage: str) -> Path:
        return self.root / "models" / f"{stage}.json"


def derived_seed(seed: int, purpose: str) -> int:
    """An independent seed in [0, 2^63) for each (seed, purpose); stable across versions of Python and PyTorch."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "big") >> 1
