"""What our code must not do, found in its syntax tree: no import and no alias hides it, and no comment excuses it.

Bandit looks for much of this too; here it is a rule without exceptions, but for those that the test names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

LOADERS = {
    "pickle": "runs code",
    "_pickle": "runs code",
    "cPickle": "runs code",
    "dill": "runs code",
    "cloudpickle": "runs code",
    "joblib": "runs code",
    "marshal": "runs code",
    "shelve": "runs code",
    "jsonpickle": "runs code",
}
"""Modules that need not even be imported."""
CALLS = {
    "eval": "runs code",
    "exec": "runs code",
    "builtins.eval": "runs code",
    "builtins.exec": "runs code",
    "pandas.read_pickle": "loads a pickle",
    "torch.jit.load": "runs code",
    "torch.hub.load": "runs code",
    "mlflow.pytorch.load_model": "loads a pickle",
    "mlflow.pyfunc.load_model": "runs code",
    "yaml.load": "makes any object; yaml.safe_load does not",
    "yaml.load_all": "makes any object",
    "yaml.unsafe_load": "makes any object",
    "yaml.full_load": "makes any object",
    "os.system": "starts a shell",
    "os.popen": "starts a shell",
    "subprocess.getoutput": "starts a shell",
    "subprocess.getstatusoutput": "starts a shell",
    "asyncio.create_subprocess_shell": "starts a shell",
    "tempfile.mktemp": "gives a name that somebody else may take first",
    "shutil.unpack_archive": "writes wherever the archive says",
    "ssl._create_unverified_context": "trusts anybody",
}
METHODS = {
    "extractall": "writes wherever the archive says",
    "extract": "writes wherever the archive says",
    "to_pickle": "writes a pickle",
}
"""Of whatever object."""
FORBIDDEN_VALUES = {"shell": (True,), "allow_pickle": (True,), "verify": (False,), "weights_only": (False,)}
"""Keyword -> values that it must not have, in any call; what is no constant is not allowed either."""
NEEDED = {
    "torch.load": ("weights_only", True),
    "numpy.load": ("allow_pickle", False),
    "numpy.save": ("allow_pickle", False),
}
"""Function -> keyword that must be written, so that no reader and no later version has to know the default."""
ADDRESSES = ("0.0.0.0", "::", "[::]")
"""Every interface of the computer."""


def faults(source: str) -> Iterator[tuple[int, str]]:
    """Line and what is wrong, for every fault in the source of a module."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            for module in modules:
                if (why := LOADERS.get(module.partition(".")[0])) is not None:
                    yield node.lineno, f"{module} {why}"
        elif isinstance(node, ast.Constant) and node.value in ADDRESSES:
            yield node.lineno, f"{node.value} is every interface"
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, why) for why in _of_call(node, names))
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            name = _dotted(node, names)
            if name in CALLS:
                yield node.lineno, f"{name} {CALLS[name]}"


def _of_call(node: ast.Call, names: dict[str, str]) -> Iterator[str]:
    name = _dotted(node.func, names)
    if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        yield f"{node.func.attr} {METHODS[node.func.attr]}"
    given = {one.arg: one.value for one in node.keywords if one.arg is not None}
    for keyword, forbidden in FORBIDDEN_VALUES.items():
        value = given.get(keyword)
        if value is not None and (not isinstance(value, ast.Constant) or value.value in forbidden):
            yield f"{keyword}={ast.unparse(value)}"
    if name in NEEDED:
        keyword, needed = NEEDED[name]
        value = given.get(keyword)
        if not (isinstance(value, ast.Constant) and value.value is needed):
            yield f"{name} without {keyword}={needed}"


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Name in the module -> what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield (one.asname, one.name) if one.asname else (one.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for one in node.names:
                yield one.asname or one.name, f"{node.module}.{one.name}"


def _dotted(node: ast.AST, names: dict[str, str]) -> str | None:
    """`numpy.load` for `np.load`; None for what is no plain name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value, names)) is not None:
        return f"{before}.{node.attr}"
    return None
