from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.data.draw import hash_order, hash_uniform

IDS = [f"all-{place:06d}" for place in range(4000)]


def test_the_number_of_an_id_is_the_head_of_a_sha256():
    (number,) = hash_uniform(["all-000003"], seed=7, purpose="test")
    head = hashlib.sha256(b"7/test/all-000003").hexdigest()[:16]
    assert abs(number - int(head, 16) / 2**64) < 2**-52


def test_numbers_are_uniform_and_independent_between_seeds_and_purposes():
    draws = [hash_uniform(IDS, seed=seed, purpose=purpose) for seed in (0, 1) for purpose in ("test", "forget")]
    for place, one in enumerate(draws):
        assert abs(np.histogram(one, bins=8, range=(0, 1))[0] - 500).max() < 90
        for other in draws[:place]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.06


@given(st.sets(st.integers(0, 60)), st.integers(0, 2**32 - 1))
def test_leaving_ids_out_changes_no_other_number_nor_the_order_of_the_others(removed, seed):
    ids = IDS[:60]
    kept = [one for place, one in enumerate(ids) if place not in removed]
    everyone = dict(zip(ids, hash_uniform(ids, seed=seed, purpose="test"), strict=True))
    assert hash_uniform(kept, seed=seed, purpose="test").tolist() == [everyone[one] for one in kept]
    order = [ids[place] for place in hash_order(ids, seed=seed, purpose="test")]
    expected = [one for one in order if one in set(kept)]
    assert [kept[place] for place in hash_order(kept, seed=seed, purpose="test")] == expected
