"""Where the files of a pipeline lie, with its parameters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from qunlearn.config import ConfigError, Params, load
from qunlearn.unlearning import methods, resolve


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
        resolve(params.unlearn)
        if params.deletion.method not in methods():
            known = ", ".join(methods())
            raise ConfigError(
                f"{path.name}: deletion.method = {params.deletion.method!r}: no such method; there are {known}"
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
