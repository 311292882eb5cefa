"""Files that claim what they are not: never an error, never silently clean, never more memory than they are worth."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
import warnings
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qunlearn.deletion import formats, traces
from qunlearn.deletion.traces import Traces, image_digests

ID = "all-000001-0123456789ab"
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 1, 4, 4), dtype=np.uint8)


@pytest.fixture
def searched() -> Traces:
    digests = list(image_digests(IMAGES))
    return Traces(frozenset({ID}), frozenset({digests[1], digests[3]}), pixels=16, weights=frozenset({"a" * 64}))


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode("latin1")
    text += b" " * (64 - (10 + len(text) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def claims(shape: str, content: bytes = b"", *, fortran: bool = False) -> bytes:
    return npy(f"{{'descr': '|u1', 'fortran_order': {fortran}, 'shape': {shape}, }}", content)


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def table(**columns: pa.Array) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


LIES = {
    "a header of brackets": npy("{'descr': (((((("),
    "a header of signs": npy("-" * 6000 + "1"),
    "a header of brackets in brackets": npy("[" * 9000),
    "a terabyte": claims("(1000000000000, 16)", IMAGES.tobytes()),
    "a terabyte in Fortran order": claims("(1000000000000, 16)", IMAGES.tobytes(), fortran=True),
    "a terabyte in an archive": zipped(x=claims("(1000000000000, 16)", IMAGES.tobytes())),
    "a negative length": claims("(-1, 16)"),
    "lengths of no number": claims("('a', 16)"),
    "an archive without a directory": b"PK\x03\x04" + b"junk" * 100,
    "a stream without an end": gzip.compress(b"\0" * 100)[:-5],
    "a table without an end": table(a=pa.array([1, 2]))[:-6],
    "archives in archives": zipped(a=zipped(a=zipped(a=zipped(a=b"a")))),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_no_error_and_is_told_and_costs_no_memory(tmp_path, searched, lie):
    (tmp_path / "file").write_bytes(LIES[lie])
    tracemalloc.start()
    found = searched.in_file(tmp_path / "file")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.unsearchable
    assert searched.unsearchable == {found.sha256: (str(tmp_path / "file"), found.unsearchable)}
    assert peak < 1 << 26


def test_images_before_the_end_of_a_lie_are_found(tmp_path, searched):
    for name in ("a terabyte", "a terabyte in an archive"):
        (tmp_path / "file").write_bytes(LIES[name])
        assert searched.in_file(tmp_path / "file").images == 2


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**62], pa.timestamp("us")),
        pa.array([1_500_000_000_123_456_789], pa.timestamp("ns")),
        pa.array([10**15], pa.duration("ns")),
        pa.array([b"\xff\xfe"], pa.binary()).view(pa.string()),
        pa.array([[b"\xff"]], pa.list_(pa.binary())),
        pa.array(["x"]).dictionary_encode(),
        pa.array([{"a": 1.5, "b": "x"}]),
        pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())),
        pa.array([b"abcd"], pa.binary(4)),
        pa.array([None], pa.null()),
        pa.array([1], pa.decimal128(5)),
    ],
    ids=lambda column: str(column.type),
)
def test_no_column_of_a_table_keeps_the_others_from_being_searched(tmp_path, searched, column):
    # Stored in pieces, so that the id is nowhere in the file's bytes.
    names = pa.array([f"{ID[:12]}{ID[12:]}"])
    stream = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": column, "n": names}), stream, compression="gzip", write_statistics=False)
    found = searched.in_file(stream)
    assert (found.ids, found.unsearchable) == (1, "")


def test_what_unpacks_to_far_more_than_it_is_ends_and_is_told(tmp_path, searched, monkeypatch):
    monkeypatch.setattr(traces, "LEAST", 1 << 20)
    inner = zipped(a=bytes(1 << 22))
    (tmp_path / "file").write_bytes(zipped(**{f"m{number}": inner for number in range(40)}))
    assert searched.in_file(tmp_path / "file").unsearchable == "unpacks to far more than its size"
    (tmp_path / "file").write_bytes(zipped(a=bytes(1 << 22)))
    assert not searched.in_file(tmp_path / "file").unsearchable


def test_a_damaged_member_of_an_archive_does_not_hide_the_others(tmp_path, searched):
    content = bytearray(zipped(a=b"first" * 50, b=gzip.compress(ID.encode())))
    place = content.index(b"PK\x01\x02")
    content[6] |= 1
    content[place + 8] |= 1  # encrypted
    (tmp_path / "file").write_bytes(content)
    found = searched.in_file(tmp_path / "file")
    assert (found.ids, found.unsearchable) == (1, "damaged or encrypted (RuntimeError)")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"extra": {"parent": []}}', '{"extra": {"parent": {}}}', "\0", ""])
def test_a_strange_config_names_no_parent(tmp_path, searched, content):
    (tmp_path / "config.json").write_text(content)
    assert searched.parent(tmp_path / "config.json") == ""


def test_whole_files_of_every_kind_are_searchable(tmp_path, searched):
    for content in WHOLE:
        (tmp_path / "config.json").write_bytes(content)
        assert searched.in_file(tmp_path / "config.json").unsearchable == ""


def archive(*, compressed: bool) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, a=np.zeros(3), b=IMAGES)
    return stream.getvalue()


WHOLE = [
    saved(IMAGES),
    saved(np.asfortranarray(IMAGES.reshape(5, 16))),
    archive(compressed=True),
    archive(compressed=False),
    gzip.compress(zipped(a=saved(IMAGES), b=b"text" * 50)),
    table(a=pa.array(["x", None]), b=pa.array([1, 2]), c=pa.array([["x"], []]), t=pa.array([1, 2], pa.timestamp("us"))),
    json.dumps({"extra": {"parent": "b" * 64}}).encode(),
]


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    whole=st.sampled_from(WHOLE),
    changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=8),
    cut=st.integers(0),
    tail=st.binary(max_size=20),
)
def test_no_damage_is_an_error_and_an_id_in_its_bytes_is_found(tmp_path, searched, whole, changes, cut, tail):
    content = bytearray(whole)
    for place, byte in changes:
        content[place % len(content)] = byte
    if cut % 3 == 0:
        del content[cut % len(content) :]
    path = tmp_path / "config.json"
    path.write_bytes(bytes(content) + tail)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        searched.in_file(path)
        searched.parent(path)
        path.write_bytes(bytes(content) + ID.encode())
        assert searched.in_file(path).ids == 1


def test_an_array_in_fortran_order_that_is_too_large_is_told(tmp_path, searched, monkeypatch):
    monkeypatch.setattr(formats, "WHOLE", 50)
    (tmp_path / "file").write_bytes(saved(np.asfortranarray(IMAGES.reshape(5, 16))))
    assert "Fortran order" in searched.in_file(tmp_path / "file").unsearchable
