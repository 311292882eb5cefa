"""The gate between a model and a split: no model is unlearned or evaluated on another split than its own."""

from __future__ import annotations

import pytest

from qunlearn.config import RandomScenario, SplitConfig
from qunlearn.data.splits import GateError, check_gate, make_split


def _parts(split):
    return {
        "forget_ids": split.ids("train", "forget"),
        "retain_ids": split.ids("train", "retain"),
        "held_out_ids": split.ids("validation") + split.ids("test"),
    }


def _splits(image_set):
    """The split a model was trained on, and one that differs in the seed alone."""
    configs = [SplitConfig(seed=seed, scenario=RandomScenario(fraction=0.1)) for seed in (0, 1)]
    return [make_split(image_set, one, target="fine", erased=frozenset(), erased_digest="") for one in configs]


def _assert_stops_a_model_of_another_split(gate, image_set):
    own, other = _splits(image_set)
    gate(trained_ids=own.ids("train"), **_parts(own))
    with pytest.raises(GateError):
        gate(trained_ids=own.ids("train"), **_parts(other))
    # The same number of images, one of them another.
    swapped = (*own.ids("train")[1:], own.ids("test")[0])
    with pytest.raises(GateError):
        gate(trained_ids=swapped, **_parts(own))


def _gate_that_counts(*, trained_ids, forget_ids, retain_ids, held_out_ids):
    """Wrong: as many trained samples as there are to forget and to retain."""
    if abs(len(trained_ids) - len(forget_ids) - len(retain_ids)) > 0.1 * len(trained_ids):
        raise GateError("other counts")


def _gate_without_the_model(*, trained_ids, forget_ids, retain_ids, held_out_ids):
    """Wrong: the split fits itself, and nobody asks what the model was trained on."""
    if {*forget_ids} & {*retain_ids} or ({*forget_ids} | {*retain_ids}) & {*held_out_ids}:
        raise GateError("overlap")


def _gate_that_wants_a_superset(*, trained_ids, forget_ids, retain_ids, held_out_ids):
    """Wrong: the model may have seen anything besides the forget set."""
    if not {*forget_ids} <= {*trained_ids}:
        raise GateError("never seen")


def test_a_model_trained_on_another_split_is_stopped(make_image_set):
    _assert_stops_a_model_of_another_split(check_gate, make_image_set())


@pytest.mark.parametrize("wrong", [_gate_that_counts, _gate_without_the_model, _gate_that_wants_a_superset])
def test_the_check_above_fails_for_a_gate_that_is_too_lenient(make_image_set, wrong):
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        _assert_stops_a_model_of_another_split(wrong, make_image_set())


VIOLATIONS = {
    "never trained on": ({"trained_ids": "abc", "retain_ids": "bcx"}, "1 in the split's training part, but .*as x"),
    "trained on more": ({"trained_ids": "abcdx"}, "1 trained on, but neither to forget nor to retain.* x"),
    "overlap": ({"forget_ids": "ab"}, "1 to forget and to retain at once, such as b"),
    "forget held out": ({"held_out_ids": "ya"}, "to forget, but held out for validation or test, such as a"),
    "retain held out": ({"held_out_ids": "yb"}, "to retain, but held out for validation or test, such as b"),
    "trained held out": ({"trained_ids": "abcdy"}, "trained on, but held out for validation or test, such as y"),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_each_violated_condition_is_named_with_a_sample(violation):
    change, message = VIOLATIONS[violation]
    fitting = {"trained_ids": "abcd", "forget_ids": "a", "retain_ids": "bcd", "held_out_ids": "yz"}
    check_gate(**fitting)
    with pytest.raises(GateError, match=message):
        check_gate(**{**fitting, **change})


def test_a_model_that_has_unlearned_fits_its_parents_ids_minus_the_forgotten(make_image_set):
    own, _ = _splits(make_image_set())
    parts = _parts(own)
    remaining = set(own.ids("train")) - set(parts["forget_ids"])
    check_gate(trained_ids=remaining, **{**parts, "forget_ids": ()})
