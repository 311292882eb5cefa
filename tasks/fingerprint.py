"""The fingerprint of a cell: equal fingerprints mean that computing again would give the same weights.

sha256 over the resolved parameters, the split's digest, the parent checkpoint's digest and the source of the modules
that the cell uses. Sources are found without importing them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TRAINING_MODULES = (
    "qunlearn.data",
    "qunlearn.models",
    "qunlearn.quantization",
    "qunlearn.training",
    "qunlearn.checkpoint",
)
"""What a trained model depends on."""


def unlearning_modules(method_module: str) -> tuple[str, ...]:
    """What an unlearned model depends on: training, the engine's files, and the method's own file (a dotted name).

    Other methods are left out, so that changing one of them recomputes only that one.

    Raises:
        ValueError: there is no such module.
    """
    engine = _locate("qunlearn.unlearning")
    names = sorted(
        path.stem
        for path in engine.iterdir()
        if path.suffix == ".py" or (path.is_dir() and path.name != "methods" and any(path.rglob("*.py")))
    )
    _locate(method_module)
    return (*TRAINING_MODULES, *(f"qunlearn.unlearning.{name}" for name in names), method_module)


def fingerprint(
    *, params: Mapping[str, Any], split_digest: str, parent_digest: str | None, modules: Sequence[str]
) -> str:
    """sha256, 64 hexadecimal digits, of everything that decides a cell's weights.

    Args:
        params: resolved parameters as plain JSON values, ``model_dump(mode="json")``; the order of keys is irrelevant.
        split_digest: digest of the data the cell reads.
        parent_digest: digest of the weights it starts from; None for a model trained from scratch.
        modules: dotted names of the modules and packages whose source decides the result.

    Raises:
        ValueError: a parameter is not a plain JSON value, or a module does not exist.
    """
    content = {
        "params": dict(params),
        "split": split_digest,
        "parent": parent_digest,
        "source": source_digest(modules),
    }
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"params must be plain JSON values (numbers that are finite, strings, lists, mappings): {error}; "
            'resolve a configuration with model_dump(mode="json")'
        ) from None
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def source_digest(modules: Sequence[str]) -> str:
    """sha256 over names and bytes of the ``.py`` files of modules and whole packages; their order is irrelevant.

    Raises:
        ValueError: a module does not exist.
    """
    digest = hashlib.sha256()
    for module in sorted(set(modules)):
        where = _locate(module)
        files = sorted(where.rglob("*.py")) if where.is_dir() else [where]
        for file in files:
            name = module if file == where else f"{module}/{file.relative_to(where).as_posix()}"
            content = file.read_bytes()
            # Lengths keep the boundary between one file and the next unambiguous.
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def _locate(module: str) -> Path:
    """The file of a module or the folder of a package, without importing anything of it."""
    top, *rest = module.split(".")
    # find_spec imports the parents of a dotted name; of a top-level name it imports nothing.
    spec = importlib.util.find_spec(top) if top else None
    if spec is not None and spec.submodule_search_locations:
        for location in spec.submodule_search_locations:
            path = Path(location, *rest)
            if path.is_dir() and any(path.glob("*.py")):
                return path
            if rest and path.with_name(f"{path.name}.py").is_file():
                return path.with_name(f"{path.name}.py")
    elif spec is not None and spec.origin and not rest and Path(spec.origin).is_file():
        return Path(spec.origin)
    raise ValueError(f"{module!r}: no such Python module or package; give a dotted name like qunlearn.training")
