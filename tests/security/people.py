"""A project of the user's own images that are about people, and requests that name them in every way there is."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import deletion_project
import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

COUNT = 300
SUBJECT = "470119850412"
"""A whole number, as subjects must be, that names a person all the same."""
SAMPLE = "Berta Plantedsample"
PATH = "anna-plantedpath"
FIRST, SECOND = "images/0/anna-plantedpath.png", "images/1/img-001.png"
"""Files of the subject; the second is called `SAMPLE` in the table."""
REFERENCE = "Letter of Carl Plantedreference <carl@planted.example>"
UNKNOWN = "dora-plantedunknown"
TYPED = "Fritz Plantedtypo"
REQUEST_FILE = "emil-plantedfile.csv"
PLANTED = (
    *(SUBJECT, SAMPLE, PATH, REFERENCE, UNKNOWN, TYPED, REQUEST_FILE),
    *("Plantedsample", "plantedpath", "Plantedreference", "carl@planted.example", "plantedunknown", "Plantedtypo"),
    "plantedfile",
)
"""Whole and in parts."""
PARAMS = {**deletion_project.PARAMS, "data": {"source": "image_folder", "root": "images", "metadata": "people.csv"}}


def written(folder: Path) -> None:
    """The images, their table and the parameters; nothing is ingested yet."""
    data = load_digits()
    rows = []
    for place in range(COUNT):
        name = PATH if place == 0 else f"img-{place:03d}"
        file = Path(str(data.target[place])) / f"{name}.png"
        path = folder / "images" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((data.images[place] * 15.9).astype(np.uint8)).save(path)
        sample = SAMPLE if place == 1 else f"s{place}"
        rows.append((file.as_posix(), sample, SUBJECT if place < 4 else str(place % 40)))
    with (folder / "people.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "sample_id", "subject"), *rows])
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS))


def built(folder: Path) -> Path:
    """The project with a released model; its images and their table are the raw data that it was made from."""
    written(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletion_project, "PARAMS", PARAMS)
        return deletion_project.built(folder)


def raw(project: Path) -> set[str]:
    """The files, outside our custody, that name people before and after: two of the images, and their table."""
    return {str(project / name) for name in (FIRST, "people.csv")}


def request_file(folder: Path) -> Path:
    """A file of somebody's own, which the project must not keep anything of."""
    folder.mkdir()
    file = folder / REQUEST_FILE
    file.write_text(f"sample_id,who\n0/{PATH}.png,{TYPED}\n{SAMPLE},x\n{UNKNOWN},x\n")
    return file


def commands(file: Path) -> list[tuple[int, tuple[Any, ...]]]:
    """Command lines of `qunlearn request` and their exit codes."""
    return [
        (0, ("add", "--group", SUBJECT, "--reference", REFERENCE, "--json")),
        (0, ("add", "--file", file)),
        (0, ("add", "--sample", SAMPLE, "--sample", UNKNOWN, "--reference", TYPED)),
        (1, ("add", "--sample", TYPED)),
        (1, ("add", "--group", TYPED)),
        (1, ("add", "--class", TYPED)),
        (1, ("show", TYPED)),
        (1, ("cancel", TYPED)),
        (0, ("list",)),
        (0, ("hash", "--reference", REFERENCE)),
    ]
