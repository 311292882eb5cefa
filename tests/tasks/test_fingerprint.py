"""A fingerprint changes exactly when something that decides the weights changes."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import fingerprint as module
from tasks.fingerprint import TRAINING_MODULES, fingerprint, source_digest, unlearning_modules

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A library with the shape of ours, importable as `qunlearn` while a test runs."""
    files = {
        "__init__.py": "",
        "checkpoint.py": "a = 1",
        "training.py": "b = 2",
        "data/__init__.py": "",
        "data/splits.py": "c = 3",
        "models/__init__.py": "",
        "quantization/__init__.py": "",
        "unlearning/__init__.py": "raise ImportError('must be read, not imported')",
        "unlearning/engine.py": "d = 4",
        "unlearning/directions/__init__.py": "",
        "unlearning/methods/__init__.py": "",
        "unlearning/methods/oeu.py": "e = 5",
        "unlearning/methods/qmul.py": "f = 6",
    }
    folder = tmp_path / "qunlearn"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    found = type("Spec", (), {"submodule_search_locations": [str(folder)], "origin": str(folder / "__init__.py")})
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: found if name == "qunlearn" else None)
    return folder


def mark(**changes):
    given = {"params": {"a": 1}, "split_digest": "s", "parent_digest": "p", "modules": TRAINING_MODULES} | changes
    return fingerprint(**given)


def test_everything_that_decides_the_weights_changes_it(package):
    marks = {
        mark(),
        mark(params={"a": 2}),
        mark(split_digest="t"),
        mark(parent_digest=None),
        mark(parent_digest="None"),
        mark(modules=TRAINING_MODULES[1:]),
    }
    assert len(marks) == 6
    assert all(len(m) == 64 for m in marks)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_the_order_of_parameters_is_irrelevant(params):
    turned = json.loads(json.dumps(dict(reversed(params.items()))))
    assert mark(params=params, modules=[]) == mark(params=turned, modules=[])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Path("x"), {1, 2}, object()])
def test_values_that_have_no_canonical_form_are_refused(value):
    with pytest.raises(ValueError, match="plain JSON values"):
        mark(params={"a": value}, modules=[])


def test_changing_one_method_changes_that_method_alone(package):
    oeu, qmul = (unlearning_modules(f"qunlearn.unlearning.methods.{name}") for name in ("oeu", "qmul"))
    before = source_digest(oeu), source_digest(qmul)
    training = source_digest(TRAINING_MODULES)
    (package / "unlearning/methods/oeu.py").write_text("e = 55")
    assert source_digest(oeu) != before[0]
    assert source_digest(qmul) == before[1]
    assert source_digest(TRAINING_MODULES) == training


@pytest.mark.parametrize("file", ["unlearning/engine.py", "unlearning/directions/__init__.py", "data/splits.py"])
def test_changing_what_methods_share_changes_every_method(package, file):
    names = unlearning_modules("qunlearn.unlearning.methods.oeu")
    before = source_digest(names)
    (package / file).write_text("changed = 1")
    assert source_digest(names) != before


def test_changing_the_engine_leaves_trained_models_alone(package):
    before = source_digest(TRAINING_MODULES)
    (package / "unlearning/engine.py").write_text("changed = 1")
    assert source_digest(TRAINING_MODULES) == before


def test_a_renamed_a_new_and_a_split_file_change_the_source(package):
    digests = {source_digest(["qunlearn.data"])}
    (package / "data/splits.py").rename(package / "data/parts.py")
    digests.add(source_digest(["qunlearn.data"]))
    (package / "data/new.py").write_text("")
    digests.add(source_digest(["qunlearn.data"]))
    assert len(digests) == 3


def test_compiled_files_and_the_order_of_modules_do_not_matter(package):
    before = source_digest(["qunlearn.data", "qunlearn.checkpoint"])
    (package / "data/__pycache__").mkdir()
    (package / "data/__pycache__/splits.cpython-311.pyc").write_bytes(b"x")
    assert source_digest(["qunlearn.checkpoint", "qunlearn.data", "qunlearn.data"]) == before


@pytest.mark.parametrize("name", ["qunlearn.nothing", "nothing", "", "qunlearn.data.splits.deeper"])
def test_unknown_modules_are_refused(package, name):
    with pytest.raises(ValueError, match="no such Python module"):
        source_digest([name])


def test_an_unknown_method_is_refused(package):
    with pytest.raises(ValueError, match="no such Python module"):
        unlearning_modules("qunlearn.unlearning.methods.magic")


def test_the_real_library_is_found_without_importing_it():
    assert source_digest(["qunlearn.data", "qunlearn.config"]) == source_digest(["qunlearn.config", "qunlearn.data"])
    assert "mlflow" not in module.__dict__
    assert "tasks.fingerprint" in sys.modules
