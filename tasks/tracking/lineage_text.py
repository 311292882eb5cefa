"""A lineage as a tree of text, from the weights down to the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.tracking.lineage import Lineage, Model, Origin

Tree = tuple[str, "list[Tree]"]


def as_text(chain: Lineage) -> str:
    """One tree for each model asked for; a model that was shown before is only named."""
    shown: set[str] = set()
    lines: list[str] = []
    for model_id in chain.subjects:
        title, children = _model(chain, chain.models[model_id], shown)
        lines += [title, *_branches(children, ""), ""]
    return "\n".join(lines).rstrip() + "\n"


def _model(chain: Lineage, model: Model, shown: set[str]) -> Tree:
    registered = f"  [{', '.join(model.registered)}]" if model.registered else ""
    title = f"{model.name}{registered}"
    weights: Tree = (f"weights   sha256 {model.digest}  {model.model_id}", [])
    if model.model_id in shown:
        return (f"{title}  (as above)", [weights])
    shown.add(model.model_id)
    parents = [_model(chain, chain.models[parent], shown) for parent in model.origin.parents]
    children = [weights, _run(model.origin)]
    if model.origin.fingerprint:
        children.append((f"cell      fingerprint {model.origin.fingerprint}", []))
    children.extend((f"parent    {text}", below) for text, below in parents)
    return (title, [*children, *_data(model.origin)])


def _run(origin: Origin) -> Tree:
    state = " + uncommitted changes" if origin.dirty else ""
    code = f"commit {origin.commit}{state}" if origin.commit else "no git commit"
    stage = f"stage {origin.stage}  " if origin.stage else ""
    return (f"run       {origin.name}  {stage}{origin.status}  {origin.run_id}", [(f"code      {code}", [])])


def _data(origin: Origin) -> list[Tree]:
    data: list[Tree] = [(f"data      {d.name}  {d.digest}  {d.source}", []) for d in origin.datasets if not d.is_split]
    splits = [d for d in origin.datasets if d.is_split]
    # A split is a partition of the data, so the data stands below it.
    if len(splits) == 1:
        return [(f"split     {splits[0].name}  {splits[0].digest}  {splits[0].source}", data)]
    return [*((f"split     {d.name}  {d.digest}  {d.source}", []) for d in splits), *data]


def _branches(children: list[Tree], indent: str) -> list[str]:
    lines = []
    for position, (text, below) in enumerate(children):
        last = position == len(children) - 1
        lines.append(f"{indent}{'└─ ' if last else '├─ '}{text}")
        lines += _branches(below, indent + ("   " if last else "│  "))
    return lines
