"""Small projects to request the erasure of samples from: prepared images, a table of subjects, models in a store."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from qunlearn.config import ImageFolderSource, TrackingConfig
from qunlearn.data import imageset, sources
from qunlearn.data.imageset import ImageSet, Meta
from qunlearn.deletion.ledger import Ledger
from qunlearn.deletion.names import IntakeError
from tasks.intake import Submitted, submit

COUNT = 24
IDS = tuple(f"{'test' if n % 4 == 3 else 'train'}-{n:06d}-{n:012x}" for n in range(COUNT))
TRAIN = tuple(one for one in IDS if one.startswith("train"))
CLASSES = ("cat", "dog", "owl")
"""Image n is of class n modulo 3."""
COARSE = ("wild", "pet")
PET = (1, 1, 0)
PERSON = "jane.doe@example.org"
GONE = "train-000099-0000000000aa"
"""A sample that an old model was trained on, and that is not among the images any more."""
ERASED = "train-000077-0000000000bb"
FILES = tuple(f"{name}/{n}.png" for name in ("cat", "dog") for n in range(4))
SUBJECTS = {"cat/0.png": "7", "cat/1.png": "7", "dog/0.png": "07", "dog/1.png": "8"}
"""All other files show the subject 9."""


_MADE: list[str] = []


def tracking_uri(factory: pytest.TempPathFactory) -> str:
    """A store with the champion, trained on `TRAIN`, and an old model, trained on `GONE`; made once, as it is slow."""
    if not _MADE:
        _MADE.append(_make_models(factory.mktemp("models")))
    return _MADE[0]


def plain_project(folder: Path, uri: str) -> Path:
    """A project with 24 prepared images in three classes and two superclasses."""
    _parameters(folder, uri, {"source": "digits"})
    labels = np.arange(COUNT, dtype=np.int64) % 3
    meta = Meta("plain", CLASSES, COARSE, (0.5,), (0.5,), "made up", "none", official_test=True, raw_digest="0" * 64)
    images = np.arange(COUNT * 4, dtype=np.uint8).reshape(COUNT, 1, 2, 2)
    coarse = np.array(PET, dtype=np.int64)[labels]
    imageset.save(ImageSet(images, labels, IDS, coarse, None, meta), folder / "data" / "prepared")
    (folder / "data" / "erased.txt").write_text(f"# gone\n{ERASED}\n")
    return folder


def folder_project(folder: Path, uri: str) -> Path:
    """A project with eight images of its own, with a table of subjects; ingested."""
    _parameters(folder, uri, {"source": "image_folder", "root": "images", "metadata": "people.csv"})
    for position, file in enumerate(FILES):
        draw(folder, file, position)
    rows = [f"{file},s {file[0]} {file[4]},{SUBJECTS.get(file, '9')}" for file in FILES]
    (folder / "people.csv").write_text("\n".join(["file,sample_id,subject", *rows]))
    ingest(folder)
    (folder / "data" / "erased.txt").touch()
    return folder


def draw(folder: Path, file: str, grey: int) -> None:
    path = folder / "images" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), grey, dtype=np.uint8)).save(path)


def ingest(folder: Path) -> None:
    config = ImageFolderSource(source="image_folder", root=folder / "images", metadata=folder / "people.csv")
    imageset.save(sources.read(config), folder / "data" / "prepared")


def ids_by_file(folder: Path) -> dict[str, str]:
    """The ids of the images that were prepared last, if all of `FILES` were."""
    return dict(zip(FILES, imageset.load(folder / "data" / "prepared").ids, strict=True))


def _parameters(folder: Path, uri: str, data: dict[str, str]) -> None:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    content = {
        "data": data,
        "split": {"scenario": {"kind": "random", "fraction": 0.1}},
        "seeds": [0],
        "unlearn": {"fine_tune": {}},
        "tracking": {"uri": uri},
        "deletion": {"method": "fine_tune"},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(content))


def _make_models(root: Path) -> str:
    from tasks.tracking import Store

    uri = f"sqlite:///{root / 'mlflow.db'}"
    store = Store.open(TrackingConfig(uri=uri), root=root)
    with store.stage("pretrain", store.pipeline("ab" * 32, params={})) as run:
        made = [
            run.output_model(_checkpoint(root / name, ids), name=name, digest=_digest(name), tags={})
            for name, ids in (("champion", TRAIN), ("old", (GONE,)))
        ]
    store.set_champion(store.register(made[0]))
    return uri


def _checkpoint(folder: Path, ids: tuple[str, ...]) -> Path:
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(folder.name.encode())
    (folder / "trained_ids.txt").write_text("".join(f"{one}\n" for one in ids))
    return folder


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def ask(root: Path, **named: Any) -> Submitted:
    return submit(root / "params.yaml", **named)


def samples(root: Path, **named: Any) -> set[str]:
    return set(ask(root, **named).request.asked.samples)


def refusal(root: Path, **named: Any) -> str:
    """Why it is refused; nothing is written then."""
    ledger = root / ".qunlearn" / "ledger.db"
    before = len(Ledger.open(root=root).requests()) if ledger.exists() else None
    with pytest.raises(IntakeError) as error:
        ask(root, **named)
    assert (len(Ledger.open(root=root).requests()) if ledger.exists() else None) == before
    assert "jane" not in str(error.value)
    return str(error.value)
