"""The image sets of torchvision, read from its own files and checked with its own checksums, without PIL."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from torchvision import datasets

from qunlearn.config import TorchvisionSource
from qunlearn.data.imageset import ImageSet, Integers
from qunlearn.data.sources.assembly import assemble, content_ids

DIGITS = tuple(str(digit) for digit in range(10))
CLASS = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "svhn": "SVHN",
}
LICENCE = {
    "mnist": "CC BY-SA 3.0",
    "fashion_mnist": "MIT",
    "cifar10": "none stated; cite Krizhevsky 2009",
    "cifar100": "none stated; cite Krizhevsky 2009",
    "svhn": "for non-commercial use only",
}


@dataclass(frozen=True)
class _Part:
    """Images uint8 [N, C, H, W] and labels int64 [N] of the training or the test part."""

    images: NDArray[np.uint8]
    labels: Integers
    coarse: Integers | None = None


def read(config: TorchvisionSource) -> ImageSet:
    """Both official parts, training images first.

    Raises:
        ValueError: a file is missing or is not what was published, with its name; the download failed.
    """
    dataset: Any = getattr(datasets, CLASS[config.source])
    if config.download:
        _download(dataset, config)
    reader = {"mnist": _mnist, "fashion_mnist": _mnist, "svhn": _svhn}.get(config.source, _cifar)
    train, test, classes, coarse_classes = reader(dataset, config)
    coarse = None
    if train.coarse is not None and test.coarse is not None:
        coarse = np.concatenate([train.coarse, test.coarse])
    return assemble(
        config.source,
        np.concatenate([train.images, test.images]),
        labels=np.concatenate([train.labels, test.labels]),
        ids=content_ids("train", train.images, train.labels) + content_ids("test", test.images, test.labels),
        classes=classes,
        coarse=coarse,
        coarse_classes=coarse_classes,
        source=f"torchvision.datasets.{CLASS[config.source]}",
        licence=LICENCE[config.source],
        official_test=True,
    )


def _download(dataset: Any, config: TorchvisionSource) -> None:
    parts = [{"split": "train"}, {"split": "test"}] if config.source == "svhn" else [{}]
    try:
        for part in parts:
            dataset(root=config.root, download=True, **part)
    except (RuntimeError, URLError, OSError) as error:
        message = " ".join(str(error).split())
        raise ValueError(
            f"{config.root}: could not download {config.source} ({message}); put its files there by hand and set "
            "data.download: false, or use the source digits, which needs no download"
        ) from None


def _bytes(path: Path, config: TorchvisionSource, *, md5: str | None = None) -> bytes:
    """Content of `path`, checked against the published md5 where there is one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path}: {error.strerror}; {config.source} needs this file: put it there, set data.root to the "
            "folder that holds it, or set data.download: true"
        ) from None
    if md5 is not None and hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise _damaged(path, config, f"its {len(content)} bytes do not have the published md5 {md5}")
    return content


def _damaged(path: Path, config: TorchvisionSource, problem: str) -> ValueError:
    return ValueError(f"{path}: {problem}; it is truncated or not of {config.source}: remove it and fetch it again")


# --- MNIST and Fashion-MNIST -----------------------------------------------------------------------------------------


def _mnist(dataset: Any, config: TorchvisionSource) -> tuple[_Part, _Part, tuple[str, ...], None]:
    folder = Path(config.root) / dataset.__name__ / "raw"
    parts = []
    for part in ("train", "t10k"):
        images = _idx(folder / f"{part}-images-idx3-ubyte", config, dimensions=3)
        label_file = folder / f"{part}-labels-idx1-ubyte"
        labels = _idx(label_file, config, dimensions=1)
        if len(labels) != len(images):
            raise _damaged(label_file, config, f"{len(labels)} labels for {len(images)} images")
        parts.append(_Part(images[:, None], _labels(labels, below=10, path=label_file, config=config)))
    classes = DIGITS if config.source == "mnist" else tuple(dataset.classes)
    return parts[0], parts[1], classes, None


def _idx(path: Path, config: TorchvisionSource, *, dimensions: int) -> NDArray[np.uint8]:
    """A file of unsigned bytes in IDX format: 0, 0, type 8, number of dimensions, sizes as big-endian uint32, data."""
    content = _bytes(path, config)
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise _damaged(path, config, f"not an IDX file of bytes with {dimensions} dimensions")
    shape = tuple(int(size) for size in np.frombuffer(content, dtype=">u4", count=dimensions, offset=4))
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise _damaged(path, config, f"{len(content)} bytes where its header announces {expected}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


# --- CIFAR-10 and CIFAR-100 ------------------------------------------------------------------------------------------


def _cifar(dataset: Any, config: TorchvisionSource) -> tuple[_Part, _Part, tuple[str, ...], tuple[str, ...] | None]:
    folder = Path(config.root) / dataset.base_folder
    fine = config.source == "cifar100"
    meta_file = folder / dataset.meta["filename"]
    meta = _unpickled(meta_file, config, md5=dataset.meta["md5"])
    classes = tuple(meta["fine_label_names" if fine else "label_names"])
    coarse_classes = tuple(meta["coarse_label_names"]) if fine else None
    parts = []
    for files in (dataset.train_list, dataset.test_list):
        batches = [_unpickled(folder / name, config, md5=md5) for name, md5 in files]
        images = np.concatenate([np.asarray(batch["data"], dtype=np.uint8) for batch in batches]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([batch["fine_labels" if fine else "labels"] for batch in batches]).astype(np.int64)
        coarse = np.concatenate([batch["coarse_labels"] for batch in batches]).astype(np.int64) if fine else None
        parts.append(_Part(images, labels, coarse))
    return parts[0], parts[1], classes, coarse_classes


def _unpickled(path: Path, config: TorchvisionSource, *, md5: str) -> dict[str, Any]:
    # A pickle can run any code: only bytes with the published checksum are opened.
    content: dict[str, Any] = pickle.loads(_bytes(path, config, md5=md5), encoding="latin1")
    return content


# --- SVHN ------------------------------------------------------------------------------------------------------------


def _svhn(dataset: Any, config: TorchvisionSource) -> tuple[_Part, _Part, tuple[str, ...], None]:
    parts = []
    for part in ("train", "test"):
        _, name, md5 = dataset.split_list[part]
        path = Path(config.root) / name
        content = loadmat(BytesIO(_bytes(path, config, md5=md5)))
        images = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1))
        # The publisher's label 10 is the digit 0.
        parts.append(_Part(images, _labels(content["y"].ravel() % 10, below=10, path=path, config=config)))
    return parts[0], parts[1], DIGITS, None


def _labels(values: NDArray[Any], *, below: int, path: Path, config: TorchvisionSource) -> Integers:
    if len(values) and int(values.max()) >= below:
        raise _damaged(path, config, f"label {int(values.max())} of {below} classes")
    return values.astype(np.int64)
