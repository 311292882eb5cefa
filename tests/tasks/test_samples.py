"""What a person calls a sample becomes its opaque id."""

import numpy as np
import pytest
from PIL import Image

from qunlearn.config import Params
from qunlearn.data.sources import image_folder
from tasks.samples import resolve_sample


@pytest.fixture
def project(tmp_path):
    """A folder of two classes with two images each, and parameters that name it relative to the project."""
    for position, name in enumerate(("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), position, dtype=np.uint8)).save(file)
    return tmp_path


def params(**data):
    content = {"split": {"scenario": {"kind": "random", "fraction": 0.1}}, "seeds": [0], "unlearn": {"oeu": {}}}
    return Params.model_validate({"data": data or {"source": "digits"}, **content})


def folder(metadata=None):
    return params(source="image_folder", root="images", **({"metadata": metadata} if metadata else {}))


def ids(project, config):
    """The ids that ingesting gives, in the order of the files."""
    changes = {"root": project / "images", "metadata": config.data.metadata and project / config.data.metadata}
    return image_folder.read(config.data.model_copy(update=changes)).ids


def test_an_id_and_the_beginning_of_one_are_found(tmp_path):
    known = {"root": tmp_path, "params": params(), "trained": ["all-000001-abc", "all-000002-def"]}
    assert resolve_sample("all-000001-abc", **known) == "all-000001-abc"
    assert resolve_sample("all-000002", **known) == "all-000002-def"


def test_ids_of_prepared_and_of_erased_images_are_known_without_any_model(tmp_path):
    (tmp_path / "data" / "prepared").mkdir(parents=True)
    (tmp_path / "data" / "prepared" / "ids.txt").write_text("all-000001-abc\n")
    (tmp_path / "data" / "erased.txt").write_text("# gone\nall-000009-fed\n")
    for name in ("all-000001-abc", "all-000009-fed"):
        assert resolve_sample(name, root=tmp_path, params=params(), trained=[]) == name


def test_an_unknown_sample_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'all-000003-abc': not in data/prepared/ids.txt.*give an id as in"):
        resolve_sample("all-000003-abc", root=tmp_path, params=params(), trained=["all-000001-abc"])


def test_a_file_of_an_image_folder_is_found_by_its_path(project):
    config = folder()
    known = ids(project, config)
    assert resolve_sample("dog/1.png", root=project, params=config, trained=known) == known[2]


def test_a_file_of_an_image_folder_is_found_by_path_and_by_sample_id(project):
    table = "file,sample_id\ncat/1.png,p1\ncat/2.png,p2\ndog/1.png,p3\ndog/2.png,p4\n"
    (project / "table.csv").write_text(table)
    config = folder("table.csv")
    known = ids(project, config)
    assert resolve_sample("p4", root=project, params=config, trained=known) == known[3]
    assert resolve_sample("dog/2.png", root=project, params=config, trained=known) == known[3]


def test_a_file_that_changed_since_is_told_apart_from_an_unknown_one(project):
    config = folder()
    known = ids(project, config)
    Image.fromarray(np.full((4, 4), 200, dtype=np.uint8)).save(project / "images" / "cat" / "1.png")
    with pytest.raises(ValueError, match=r"its file has the id img-[0-9a-f]{20} now"):
        resolve_sample("cat/1.png", root=project, params=config, trained=known)
    with pytest.raises(ValueError, match="has no such file or sample_id"):
        resolve_sample("cat/9.png", root=project, params=config, trained=known)


def test_without_the_files_only_ids_are_known_and_that_is_said(tmp_path):
    config = folder()
    assert resolve_sample("img-0123456", root=tmp_path, params=config, trained=["img-0123456789"]) == "img-0123456789"
    with pytest.raises(ValueError, match=r"files cannot be looked up by name, since .*images is gone"):
        resolve_sample("cat/1.png", root=tmp_path, params=config, trained=["img-0123456789"])
