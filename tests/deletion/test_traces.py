"""Erased ids, images and weights are found wherever they are written, and nothing else is."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qunlearn.deletion import formats
from qunlearn.deletion import traces as module
from qunlearn.deletion.traces import Traces, image_digests

ID, OTHER, KEPT = "all-000001-0123456789ab", "img-abcdef0123456789abcd", "all-000002-0123456789ab"
IDS = Traces(frozenset({ID, OTHER}))


@pytest.fixture
def file(tmp_path):
    def write(content, name="file"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        f"{ID}\n{KEPT}\n",
        f'{{"ids": ["{KEPT}", "{ID}"]}}',
        f"id,partition,subset\n{ID},train,forget\n",
        f"exports/{ID}.png",
        f"x{ID}x",
        f"\x00\xff{ID}\x01",
        f"no line break before {ID}",
    ],
)
def test_an_id_is_found_whatever_stands_around_it(file, text):
    found = IDS.in_file(file(text))
    assert (found.ids, found.images, found.weights, bool(found)) == (1, 0, False, True)
    assert found.text == "1 erased id"


@pytest.mark.parametrize("text", ["", KEPT, ID[:-1], ID[1:], ID.upper(), f"{ID[:10]}\n{ID[10:]}"])
def test_what_is_no_erased_id_is_not_found(file, text):
    found = IDS.in_file(file(text))
    assert not found
    assert found.text == ""


def test_different_ids_are_counted_once_each(file):
    assert IDS.in_file(file(f"{ID} {OTHER} {ID}")).text == "2 erased ids"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-le"])
def test_wide_encodings_are_searched(file, encoding):
    assert IDS.in_file(file(f"a {ID} b".encode(encoding))).ids == 1


def test_a_numpy_array_of_texts_is_searched(tmp_path):
    np.save(tmp_path / "ids.npy", np.array([KEPT, ID]))
    assert IDS.in_file(tmp_path / "ids.npy").ids == 1


@pytest.mark.parametrize("offset", range(-len(ID) - 1, 2))
def test_an_id_across_the_border_of_two_chunks_is_found(file, monkeypatch, offset):
    monkeypatch.setattr(module, "CHUNK", 2048)
    assert IDS.in_file(file(" " * (2048 + offset) + ID + " " * 50)).ids == 1


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.binary(max_size=3000), after=st.binary(max_size=3000), seed=st.integers())
def test_an_id_in_any_bytes_is_found_and_what_differs_in_one_character_is_not(file, before, after, seed):
    place = random.Random(seed).randrange(len(ID))
    changed = ID[:place] + ("!" if ID[place] != "!" else "?") + ID[place + 1 :]
    assert IDS.in_file(file(before + ID.encode() + after)).ids == 1
    assert IDS.in_file(file(before + changed.encode() + after)).ids == 0


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner", content)
    return stream.getvalue()


@pytest.mark.parametrize(
    "packed",
    [zipped, gzip.compress, lambda c: zipped(gzip.compress(c)), lambda c: gzip.compress(zipped(zipped(c)))],
)
def test_archives_are_opened_also_within_each_other(file, packed):
    assert IDS.in_file(file(packed(f"{ID}\n".encode() * 100))).ids == 1
    assert IDS.in_file(file(packed(f"{KEPT}\n".encode() * 100))).ids == 0


def test_what_is_before_the_damage_of_an_archive_is_found(file):
    noise = random.Random(0).randbytes(200_000)
    packed = gzip.compress(ID.encode() + noise)
    assert IDS.in_file(file(packed[: len(packed) // 2])).ids in (0, 1)
    assert IDS.in_file(file(packed[:-4])).ids == 1
    for damaged in (zipped(noise)[:-30], packed[:10], zipped(noise).replace(noise[:20], bytes(20))):
        assert not IDS.in_file(file(damaged))


def test_an_encrypted_archive_is_no_error(file):
    content = bytearray(zipped(b"secret"))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert not IDS.in_file(file(bytes(content)))


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x1f\x8b", b"PAR1", b"\x93NUMPY"])
def test_what_only_looks_like_an_archive_is_searched_as_it_is(file, start):
    assert IDS.in_file(file(start + ID.encode())).ids == 1


@pytest.mark.parametrize("nested", [False, True])
def test_text_columns_of_parquet_are_searched(tmp_path, nested):
    # Stored as differences to the value before, so the id is nowhere in the file's bytes.
    names = sorted([KEPT, ID] + [f"{ID[:-1]}{digit}" for digit in range(9)])
    column = pa.array([[name] for name in names]) if nested else pa.array(names)
    table = pa.table({"loss": pa.array(np.arange(11.0)), "sample": column})
    encoding = {"sample.list.element" if nested else "sample": "DELTA_BYTE_ARRAY"}
    pq.write_table(
        table, tmp_path / "t.parquet", use_dictionary=False, column_encoding=encoding, write_statistics=False
    )
    assert ID.encode() not in (tmp_path / "t.parquet").read_bytes()
    assert IDS.in_file(tmp_path / "t.parquet").ids == 1


# --- images ----------------------------------------------------------------------------------------------------------

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 1, 4, 4), dtype=np.uint8)
DIGESTS = list(image_digests(IMAGES))


@pytest.fixture
def two() -> Traces:
    """Searches for the second and the fourth image."""
    return Traces(frozenset({ID}), frozenset({DIGESTS[1], DIGESTS[3]}), pixels=16)


def test_digests_of_images_are_those_of_their_pixels():
    assert DIGESTS[2] == hashlib.sha256(IMAGES[2].tobytes()).hexdigest()


@pytest.mark.parametrize("shape", [(5, 1, 4, 4), (5, 4, 4), (5, 16)])
def test_images_are_found_in_arrays_of_any_shape(tmp_path, two, shape):
    np.save(tmp_path / "images.npy", IMAGES.reshape(shape))
    assert two.in_file(tmp_path / "images.npy").text == "2 erased images"


@pytest.mark.parametrize("kind", [np.int8, np.bool_])
def test_images_are_found_whatever_their_bytes_are_called(tmp_path, two, kind):
    np.save(tmp_path / "images.npy", IMAGES.view(kind))
    assert two.in_file(tmp_path / "images.npy").images == 2


def test_a_part_of_an_array_and_one_in_fortran_order_are_found(tmp_path, two):
    np.save(tmp_path / "part.npy", np.asfortranarray(IMAGES[3:]))
    assert two.in_file(tmp_path / "part.npy").images == 1


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_images_in_npz_are_found(tmp_path, two, save):
    save(tmp_path / "images.npz", a=np.zeros(3), b=IMAGES)
    assert two.in_file(tmp_path / "images.npz").images == 2


@pytest.mark.parametrize(
    "array",
    [IMAGES[[0, 2, 4]], IMAGES.astype(np.float32), IMAGES.reshape(10, 8), np.zeros(0, dtype=np.uint8), np.uint8(3)],
)
def test_other_arrays_hold_no_erased_image(tmp_path, two, array):
    np.save(tmp_path / "other.npy", array)
    assert not two.in_file(tmp_path / "other.npy")


def test_more_images_than_are_hashed_at_a_time(tmp_path, two, monkeypatch):
    monkeypatch.setattr(formats, "ROWS", 2)
    np.save(tmp_path / "images.npy", IMAGES)
    assert two.in_file(tmp_path / "images.npy").images == 2


def test_a_truncated_array_is_searched_as_far_as_it_goes_and_told(tmp_path, two):
    np.save(tmp_path / "images.npy", IMAGES)
    content = (tmp_path / "images.npy").read_bytes()
    for length, images in ((len(content) - 1, 2), (len(content) - 17, 1), (20, 0), (7, 0)):
        (tmp_path / "images.npy").write_bytes(content[:length])
        found = two.in_file(tmp_path / "images.npy")
        assert (found.images, bool(found.unsearchable)) == (images, True)


# --- weights ---------------------------------------------------------------------------------------------------------


def test_weights_are_found_by_their_digest_and_by_nothing_else(file):
    digest = hashlib.sha256(b"weights").hexdigest()
    searched = Traces(frozenset(), weights=frozenset({digest}))
    assert searched.in_file(file(b"weights")).text == "weights of an erased model"
    assert not searched.in_file(file(b"weights "))
    assert not searched.in_file(file(digest))


def test_a_checkpoint_made_from_erased_weights_says_so_in_its_config(file):
    searched = Traces(frozenset(), weights=frozenset({"a" * 64}))
    made = {"extra": {"parent": "a" * 64}}
    assert searched.parent(file(json.dumps(made), "config.json")) == "a model that was made from an erased one"
    assert searched.parent(file(json.dumps(made), "other.json")) == ""
    for content in ('{"extra": {"parent": "b"}}', '{"extra": {}}', "[]", "no json", b"\xff"):
        assert searched.parent(file(content, "config.json")) == ""


def test_all_files_of_a_folder_are_searched_through_links(file, tmp_path):
    (tmp_path / "set" / "deep").mkdir(parents=True)
    (tmp_path / "set" / "deep" / "a").write_text(ID)
    (tmp_path / "set" / "b").write_text(KEPT)
    (tmp_path / "set" / "c").symlink_to(file(f"{ID} {OTHER}", "outside"))
    found = {path.name: trace.ids for path, trace in IDS.in_folder(tmp_path / "set")}
    assert found == {"a": 1, "c": 2}


def test_without_anything_to_search_nothing_is_found(file):
    assert not Traces(frozenset()).in_file(file(ID))


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        IDS.in_file(tmp_path / "missing")
