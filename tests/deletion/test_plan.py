"""What a batch of requests means for one model."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.deletion.plan import ImagesGoneError, Known, Share, emptied_classes, make_plan
from qunlearn.deletion.records import Asked, Request
from qunlearn.deletion.states import Outcome, State

IMAGES = tuple(f"all-{number:06d}" for number in range(10))
TRAINED = IMAGES[5::-1]
"""In an order of its own."""
CLASSES = ("cat", "dog")
GONE = "all-000099"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def hashed(one):
    return f"#{one}"


def known(*, trained=TRAINED, images=IMAGES, erased=(), labels=None):
    """Even images are cats and odd ones dogs, unless told otherwise."""
    own = labels or {one: int(one[-1]) % 2 for one in images}
    return Known(trained=tuple(trained), labels=own, class_names=CLASSES, erased=frozenset(erased), hashed=hashed)


def request(number, samples=(), unknown=()):
    asked = Asked("sample", tuple(samples), tuple(map(hashed, unknown)), None, None, date(2026, 2, 1))
    return Request(f"r-{number:016x}", asked, State.CLAIMED, None, None, "b-1", 0, NOW, NOW)


def plan(*requests, unknown=(), **options):
    made = [request(number, samples, unknown) for number, samples in enumerate(requests)]
    return make_plan(made, known(**options))


def share(found, number=0):
    return found.shares[f"r-{number:016x}"]


def test_requests_are_carried_out_together_and_the_models_order_is_kept():
    found = plan([IMAGES[4]], [IMAGES[1], IMAGES[4]])
    assert found.forget == (IMAGES[4], IMAGES[1])
    assert found.retain == (IMAGES[5], IMAGES[3], IMAGES[2], IMAGES[0])
    assert found.erase == (IMAGES[1], IMAGES[4])
    assert found.rejected == {}
    assert [share(found, number).trained for number in (0, 1)] == [1, 2]


def test_a_sample_the_model_never_saw_is_erased_without_unlearning():
    found = plan([IMAGES[8]])
    assert (found.forget, found.retain, found.erase) == ((), TRAINED, (IMAGES[8],))
    assert share(found) == Share(asked=1, trained=0, untrained=1, erased=0, unknown=0)
    assert share(found).outcome is Outcome.NOT_TRAINED


def test_what_was_erased_before_is_not_erased_again():
    found = plan([GONE], erased=[GONE])
    assert (found.forget, found.erase) == ((), ())
    assert share(found) == Share(asked=1, trained=0, untrained=0, erased=1, unknown=0)
    assert share(found).outcome is Outcome.ALREADY_ERASED


def test_an_erased_sample_that_the_model_still_knows_is_unlearned():
    found = plan([TRAINED[0]], erased=[TRAINED[0]])
    assert (found.forget, found.erase) == ((TRAINED[0],), (TRAINED[0],))
    assert share(found).outcome is None


def test_a_name_that_is_unknown_changes_nothing():
    found = plan([], unknown=["nobody", "no one"])
    assert (found.forget, found.retain, found.erase) == ((), TRAINED, ())
    assert share(found) == Share(asked=2, trained=0, untrained=0, erased=0, unknown=2)
    assert share(found).outcome is Outcome.NOT_PRESENT


@pytest.mark.parametrize(
    ("name", "part"), [(TRAINED[0], "trained"), (IMAGES[8], "untrained"), (GONE, "erased")], ids=lambda one: one
)
def test_a_name_that_has_come_into_the_data_since_counts_like_any_other(name, part):
    found = plan([], unknown=[name, "nobody"], erased=[GONE])
    assert share(found).found == (name,)
    assert (getattr(share(found), part), share(found).unknown, share(found).asked) == (1, 1, 2)
    assert (name in found.erase) == (part != "erased")


def test_a_name_that_is_given_as_an_id_and_as_a_hash_counts_once():
    found = plan([TRAINED[0]], unknown=[TRAINED[0]])
    assert share(found) == Share(asked=1, trained=1, untrained=0, erased=0, unknown=0, found=(TRAINED[0],))


def test_a_share_survives_json():
    import json
    from dataclasses import asdict

    before = share(plan([TRAINED[0]], unknown=[IMAGES[8]]))
    assert Share.from_json(json.loads(json.dumps(asdict(before)))) == before


def test_a_trained_sample_without_its_image_cannot_be_unlearned_which_is_no_fault_of_the_request():
    with pytest.raises(ImagesGoneError, match="images are no longer") as raised:
        plan([TRAINED[0]], images=[one for one in IMAGES if one != TRAINED[0]])
    assert not [one for one in IMAGES if one in str(raised.value)]


def test_the_request_that_would_take_the_last_training_sample_is_rejected_alone():
    found = plan(IMAGES[:3], IMAGES[3:6], IMAGES[3:4])
    assert list(found.rejected) == ["r-0000000000000001"]
    assert "would keep no training data" in found.rejected["r-0000000000000001"]
    assert set(found.forget) == set(IMAGES[:4])
    assert set(found.erase) == set(IMAGES[:4])


def test_a_class_may_not_lose_all_training_images_and_keep_others():
    found = plan([IMAGES[0], IMAGES[2], IMAGES[4]])
    (reason,) = found.rejected.values()
    assert "class 'cat' would keep 2 images" in reason
    assert found.forget == ()


def test_a_class_may_go_as_a_whole():
    whole = [one for one in IMAGES if int(one[-1]) % 2 == 0]
    found = plan(whole)
    assert (found.rejected, set(found.erase)) == ({}, set(whole))
    assert emptied_classes(found, known()) == (0,)
    assert emptied_classes(plan(whole[:1]), known()) == ()


def test_what_is_left_of_a_class_may_go_in_a_second_request():
    found = plan([IMAGES[0]], [IMAGES[2], IMAGES[4], IMAGES[6], IMAGES[8]])
    assert (found.rejected, len(found.erase)) == ({}, 5)


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_what_is_possible_together_is_accepted_in_any_order(order):
    """The training images of a class, which alone would leave it without any; its other images; another class's."""
    asked = ([IMAGES[0], IMAGES[2], IMAGES[4]], [IMAGES[6], IMAGES[8]], [IMAGES[1]])
    found = plan(*(asked[place] for place in order))
    assert found.rejected == {}
    assert set(found.erase) == {one for some in asked for one in some}
    assert [share(found, order.index(place)).trained for place in range(3)] == [3, 0, 1]


def test_what_others_do_not_make_possible_stays_refused():
    found = plan([IMAGES[0], IMAGES[2], IMAGES[4]], [IMAGES[6]], [IMAGES[1]])
    assert list(found.rejected) == ["r-0000000000000000"]
    assert "class 'cat' would keep 1 images" in found.rejected["r-0000000000000000"]
    assert set(found.erase) == {IMAGES[6], IMAGES[1]}


def test_reasons_name_no_sample():
    for found in (plan(TRAINED), plan([IMAGES[0], IMAGES[2], IMAGES[4]])):
        assert found.rejected
        assert not [one for reason in found.rejected.values() for one in IMAGES if one in reason]


def test_no_request_means_nothing_to_do():
    found = plan()
    assert (found.shares, found.rejected, found.forget, found.retain) == ({}, {}, (), TRAINED)


samples = st.lists(st.sampled_from([*IMAGES, GONE]), max_size=6, unique=True)
names = st.lists(st.sampled_from([*IMAGES, GONE, "nobody", "no one"]), max_size=3, unique=True)


@given(
    asked=st.lists(st.tuples(samples, names), max_size=4),
    trained=st.lists(st.sampled_from(IMAGES), min_size=1, unique=True),
    erased=st.sets(st.sampled_from([*IMAGES, GONE])),
    labels=st.lists(st.integers(0, 1), min_size=len(IMAGES), max_size=len(IMAGES)),
    lost=st.sets(st.sampled_from(IMAGES), max_size=2),
)
def test_every_plan_adds_up(asked, trained, erased, labels, lost):
    own = {one: label for one, label in zip(IMAGES, labels, strict=True) if one not in lost}
    facts = known(trained=trained, erased=erased | {GONE}, labels=own)
    requests = [request(number, ids, unknown) for number, (ids, unknown) in enumerate(asked)]
    if {one for ids, unknown in asked for one in (*ids, *unknown)} & (set(trained) - set(own)):
        with pytest.raises(ImagesGoneError):
            make_plan(requests, facts)
        return
    found = make_plan(requests, facts)

    assert [one.id for one in requests if one.id not in found.rejected] == list(found.shares)
    assert len(found.shares) + len(found.rejected) == len(requests)
    # What is forgotten and what is kept part the training data, each in the model's order.
    assert set(found.forget) | set(found.retain) == set(trained)
    assert not set(found.forget) & set(found.retain)
    for part in (found.forget, found.retain):
        assert list(part) == [one for one in trained if one in part]
    assert found.retain
    # What is erased: all that is forgotten, and beside it what was not erased before or is in the data all the same.
    assert set(found.forget) == set(found.erase) & set(trained)
    assert list(found.erase) == sorted(set(found.erase))
    assert not (set(found.erase) - set(trained) - set(own)) & facts.erased
    assert set(found.forget) <= set(own)
    named = set()
    for one, (ids, unknown) in zip(requests, asked, strict=True):
        if one.id not in found.shares:
            continue
        part, all_names = found.shares[one.id], {*ids, *unknown}
        named |= all_names
        assert part.asked == len(all_names)
        assert part.trained + part.untrained + part.erased + part.unknown == part.asked
        assert part.trained == len(all_names & set(found.forget))
        assert part.unknown == len(all_names - set(IMAGES) - {GONE}) + len(
            (all_names & lost) - set(ids) - set(trained) - facts.erased
        )
        assert (part.outcome is None) == (part.trained > 0)
    assert set(found.erase) <= named
    # No class is left that the model could not be trained on but would be measured on.
    for label in emptied_classes(found, facts):
        assert not [one for one, its in own.items() if its == label and one not in found.erase]
