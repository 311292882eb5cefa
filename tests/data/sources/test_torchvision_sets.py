"""Tiny files in torchvision's own layout stand in for the published ones, and their checksums too."""

from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets

from qunlearn.config import TorchvisionSource
from qunlearn.data.sources import read

TRAIN, TEST = 20, 10


def _pixels(count: int, *shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def _write_mnist(root: Path, name: str) -> None:
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for seed, (part, count) in enumerate({"train": TRAIN, "t10k": TEST}.items()):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(_idx(_pixels(count, 28, 28, seed=seed)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(_idx(np.arange(count, dtype=np.uint8) % 10))


def _write_pickle(path: Path, content: dict) -> tuple[str, str]:
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path.name, _md5(path)


def _write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    files = []
    for batch in range(5):
        content = {"data": _pixels(4, 3072, seed=batch), "labels": [(4 * batch + k) % 10 for k in range(4)]}
        files.append(_write_pickle(folder / f"data_batch_{batch + 1}", content))
    test = {"data": _pixels(TEST, 3072, seed=9), "labels": list(range(10))}
    name, md5 = _write_pickle(folder / "batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", files)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [_write_pickle(folder / "test_batch", test)])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})


def _write_cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "cifar-100-python"
    folder.mkdir()
    lists = []
    for seed, (part, count) in enumerate({"train": TRAIN, "test": TEST}.items()):
        fine = [k % 4 for k in range(count)]
        coarse = [label // 2 for label in fine]
        content = {"data": _pixels(count, 3072, seed=seed), "fine_labels": fine, "coarse_labels": coarse}
        lists.append([_write_pickle(folder / part, content)])
    names = {"fine_label_names": list("abcd"), "coarse_label_names": ["early", "late"]}
    name, md5 = _write_pickle(folder / "meta", names)
    monkeypatch.setattr(datasets.CIFAR100, "train_list", lists[0])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", lists[1])
    monkeypatch.setattr(datasets.CIFAR100, "meta", {"filename": name, "key": "fine_label_names", "md5": md5})


def _write_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = {}
    for seed, (part, count) in enumerate({"train": TRAIN, "test": TEST}.items()):
        path = root / f"{part}_32x32.mat"
        labels = np.arange(1, count + 1, dtype=np.uint8)[:, None] % 10
        labels[labels == 0] = 10
        savemat(path, {"X": _pixels(32, 32, 3, count, seed=seed), "y": labels})
        published[part] = ["", path.name, _md5(path)]
    monkeypatch.setattr(datasets.SVHN, "split_list", published)


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A `data.root` with all five sets."""
    _write_mnist(tmp_path, "MNIST")
    _write_mnist(tmp_path, "FashionMNIST")
    _write_cifar10(tmp_path, monkeypatch)
    _write_cifar100(tmp_path, monkeypatch)
    _write_svhn(tmp_path, monkeypatch)
    return tmp_path


SOURCES = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "svhn": "SVHN",
}


@pytest.mark.parametrize("source", SOURCES)
def test_images_and_labels_equal_torchvisions_own_reading(root, source):
    image_set = read(TorchvisionSource(source=source, root=root))
    assert len(image_set) == TRAIN + TEST
    cls = getattr(datasets, SOURCES[source])
    options = [{"split": "train"}, {"split": "test"}] if source == "svhn" else [{"train": True}, {"train": False}]
    samples = [sample for option in options for sample in cls(root, **option)]
    for place, (image, label) in enumerate(samples):
        pixels = np.asarray(image)
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        np.testing.assert_array_equal(image_set.images[place], pixels)
        assert image_set.labels[place] == label
    assert image_set.official_test_mask().tolist() == [False] * TRAIN + [True] * TEST
    assert [one[:12] for one in (image_set.ids[0], image_set.ids[TRAIN])] == ["train-000000", "test-000000-"]
    training = image_set.images[:TRAIN] / 255.0
    assert image_set.meta.mean == pytest.approx(training.mean(axis=(0, 2, 3)).tolist())
    assert image_set.meta.std == pytest.approx(training.std(axis=(0, 2, 3)).tolist())


def test_cifar100_has_its_superclasses_from_the_file(root):
    image_set = read(TorchvisionSource(source="cifar100", root=root, target="coarse"))
    assert image_set.meta.classes == ("a", "b", "c", "d")
    assert image_set.meta.coarse_classes == ("early", "late")
    np.testing.assert_array_equal(image_set.coarse, image_set.labels // 2)


@pytest.mark.parametrize(
    ("source", "classes"),
    [
        ("mnist", tuple("0123456789")),
        ("fashion_mnist", tuple(datasets.FashionMNIST.classes)),
        ("cifar10", tuple("abcdefghij")),
        ("svhn", tuple("0123456789")),
    ],
)
def test_class_names_are_those_of_the_set(root, source, classes):
    assert read(TorchvisionSource(source=source, root=root)).meta.classes == classes


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("mnist", "MNIST/raw/train-images-idx3-ubyte"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte"),
        ("fashion_mnist", "FashionMNIST/raw/t10k-images-idx3-ubyte"),
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("cifar10", "cifar-10-batches-py/batches.meta"),
        ("cifar100", "cifar-100-python/test"),
        ("svhn", "test_32x32.mat"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "of another kind"])
def test_a_file_that_is_not_as_published_is_named(root, source, file, damage):
    path = root / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
        message = "No such file.* put it there, set data.root .* or set data.download: true"
    else:
        path.write_bytes({"truncated": content[:-1], "empty": b"", "of another kind": b"\x89PNG" + content}[damage])
        message = f"it is truncated or not of {source}: remove it and fetch it again"
    with pytest.raises(ValueError, match=message) as caught:
        read(TorchvisionSource(source=source, root=root))
    assert str(caught.value).startswith(str(path))


def test_a_pickle_that_was_tampered_with_is_not_opened(root, tmp_path):
    class Attack:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "attacked",))

    (root / "cifar-100-python" / "train").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(ValueError, match="do not have the published md5"):
        read(TorchvisionSource(source="cifar100", root=root))
    assert not (tmp_path / "attacked").exists()


def test_labels_and_images_of_different_number_are_refused(root):
    (root / "MNIST/raw/train-labels-idx1-ubyte").write_bytes(_idx(np.zeros(TRAIN - 1, dtype=np.uint8)))
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte: 19 labels for 20 images"):
        read(TorchvisionSource(source="mnist", root=root))


def test_a_label_that_is_no_class_is_refused(root):
    (root / "MNIST/raw/train-labels-idx1-ubyte").write_bytes(_idx(np.full(TRAIN, 12, dtype=np.uint8)))
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte: label 12 of 10 classes"):
        read(TorchvisionSource(source="mnist", root=root))


def test_a_subset_takes_both_parts_in_proportion(root):
    image_set = read(TorchvisionSource(source="cifar100", root=root, subset=15))
    assert image_set.official_test_mask().sum() == 5
    assert np.bincount(image_set.labels[:10]).tolist() == [3, 3, 2, 2]


def test_files_that_are_there_are_not_fetched_again(root, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", pytest.fail)
    assert len(read(TorchvisionSource(source="svhn", root=root, download=True))) == TRAIN + TEST


@pytest.mark.parametrize("source", SOURCES)
def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch, source):
    def offline(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", offline)
    with pytest.raises(ValueError, match=rf"could not download {source} .*no route.* put its files there by hand"):
        read(TorchvisionSource(source=source, root=tmp_path, download=True))
