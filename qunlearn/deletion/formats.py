"""Arrays of images and columns of texts out of files that anybody may have written.

What a file claims about itself is checked against what is there before memory is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.lib import format as npy
from numpy.typing import NDArray

ROWS = 1024
"""Rows that are held at a time."""
WHOLE = 1 << 30
"""Bytes of an array in Fortran order, whose rows are spread over all of it: it is held whole, or not searched."""


class NotSearchableError(ValueError):
    """A file claims what it does not hold, or more than can be searched."""


def image_rows(file: BinaryIO, size: int, *, pixels: int) -> Iterator[NDArray[np.uint8]]:
    """The rows of a NumPy array of single bytes, if each has the size of an image; nothing for any other array.

    Args:
        file: at its begin.
        size: bytes that it really has.
        pixels: bytes of one image.

    Yields:
        uint8 [at most ROWS, pixels], C order.

    Raises:
        NotSearchableError: the array is shorter than its header says, all whole rows having been given; or its
            header is none; or it is too large for its order.
        Exception: whatever NumPy's parser of headers raises for what is none.
    """
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, kind = read(file)
    if any(not isinstance(length, int) or length < 0 for length in shape):
        raise NotSearchableError("an array of no possible shape")
    if kind.itemsize != 1 or kind.hasobject or len(shape) < 2 or not pixels or math.prod(shape[1:]) != pixels:
        return
    claimed, there = math.prod(shape), size - file.tell()
    if fortran:
        if there < claimed or claimed > WHOLE:
            raise NotSearchableError("an array in Fortran order that is truncated or too large")
        whole = np.frombuffer(file.read(claimed), dtype=np.uint8).reshape(shape, order="F")
        yield np.ascontiguousarray(whole).reshape(-1, pixels)
        return
    rows = min(shape[0], there // pixels)
    while rows and (part := file.read(min(rows, ROWS) * pixels)):
        found = np.frombuffer(part[: len(part) // pixels * pixels], dtype=np.uint8).reshape(-1, pixels)
        rows -= min(rows, ROWS)
        yield found
    if there < claimed:
        raise NotSearchableError("an array that is shorter than it says")


def column_texts(file: BinaryIO, take: Callable[[int], None]) -> Iterator[bytes]:
    """The texts and bytes in all columns of a Parquet file, a line each, however the columns are nested.

    They are not decoded: a text need not be valid UTF-8.

    Args:
        take: told how many bytes were unpacked; what it raises ends the search.

    Raises:
        Exception: whatever Arrow raises for what is no such file.
    """
    table = pq.ParquetFile(file)
    for group in range(table.num_row_groups):
        take(max(0, table.metadata.row_group(group).total_byte_size))
        for batch in table.iter_batches(batch_size=ROWS, row_groups=[group]):
            take(batch.nbytes)
            for column in batch.columns:
                yield from _texts(column)


def _texts(array: Any) -> Iterator[bytes]:
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        yield from _texts(array.storage)
    elif pa.types.is_dictionary(kind):
        yield from _texts(array.dictionary)
    elif pa.types.is_struct(kind):
        for place in range(kind.num_fields):
            yield from _texts(array.field(place))
    elif pa.types.is_map(kind):
        yield from _texts(array.keys)
        yield from _texts(array.items)
    elif pa.types.is_nested(kind):
        yield from _texts(array.flatten())
    elif not _is_number(kind):
        yield b"\n".join(text for text in array.cast(pa.large_binary()).to_pylist() if text is not None)


def _is_number(kind: Any) -> bool:
    if pa.types.is_fixed_size_binary(kind):
        return False
    return bool(pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind))
