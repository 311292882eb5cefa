"""Requests for classes, and for so much that a class or the whole set would be empty."""

import pytest
import small_requests as small
from small_requests import COUNT, IDS, TRAIN, ask, refusal, samples

from qunlearn.config import load
from qunlearn.data import imageset
from tasks import known_samples

pytestmark = pytest.mark.usefixtures("only_this_project")


@pytest.fixture
def project(tmp_path, tmp_path_factory):
    return small.plain_project(tmp_path / "project", small.tracking_uri(tmp_path_factory))


# --- the whole set, and classes --------------------------------------------------------------------------------------


def test_all_that_the_champion_was_trained_on_is_refused(project):
    assert f"all {len(TRAIN)} training samples" in refusal(project, samples=TRAIN)
    assert len(samples(project, samples=TRAIN[1:])) == len(TRAIN) - 1


def test_before_any_champion_the_training_part_of_the_split_counts(project, monkeypatch):
    monkeypatch.setattr(known_samples, "_models", lambda *_: (frozenset(), frozenset()))
    with monkeypatch.context() as patch:
        patch.setattr(known_samples, "_next_training", lambda _: frozenset(TRAIN[:3]))
        assert "all 3 training samples" in refusal(project, samples=TRAIN[:3])
    assert samples(project, samples=TRAIN[:3]) == set(TRAIN[:3])
    assert f"all {COUNT} training samples" in refusal(project, samples=IDS)


def test_the_training_part_is_read_from_the_split(project):
    from qunlearn.config import RandomScenario, SplitConfig
    from qunlearn.data.splits import make_split, save_split

    assert known_samples._next_training(project / "data" / "splits") == frozenset()
    split = make_split(
        imageset.load(project / "data" / "prepared"),
        SplitConfig(scenario=RandomScenario(fraction=0.1), seed=3),
        target="fine",
        erased=frozenset(),
        erased_digest="0" * 64,
    )
    save_split(split, project / "data" / "splits")
    assert known_samples._next_training(project / "data" / "splits") == frozenset(split.ids("train"))


@pytest.mark.parametrize(("name", "labels"), [("cat", {0}), ("owl", {2}), ("pet", {0, 1})])
def test_a_class_or_superclass_is_all_its_images_held_out_ones_too(project, name, labels):
    expected = {one for n, one in enumerate(IDS) if n % 3 in labels}
    submitted = ask(project, class_name=name)
    assert set(submitted.request.asked.samples) == expected
    assert any(one.startswith("test-") for one in expected)
    assert (submitted.request.asked.kind, submitted.request.asked.classes) == ("class", (name,))


def test_what_a_class_request_leaves_is_told(project):
    assert ask(project, class_name="cat").told == ("The class 'cat' keeps no sample.",)


def test_what_is_erased_but_still_prepared_is_not_what_a_class_keeps(project):
    cats = [one for n, one in enumerate(IDS) if n % 3 == 0]
    (project / "data" / "erased.txt").write_text(f"{cats[0]}\n")
    assert ask(project, samples=cats[1:]).told == ("The class 'cat' keeps no sample.",)


def test_a_class_that_loses_its_training_samples_one_by_one_is_warned_about(project):
    cats = [one for n, one in enumerate(IDS) if n % 3 == 0 and one.startswith("train")]
    (warning,) = ask(project, samples=cats).told
    assert warning.startswith("Warning: the class 'cat' keeps no training sample, but 2 that are held out")


def test_the_classes_that_are_warned_about_are_those_of_the_task(project):
    text = (project / "params.yaml").read_text()
    coarse = load(project / "params.yaml").data.model_copy(update={"source": "digits", "target": "coarse"})
    (project / "params.yaml").write_text(text.replace("source: digits", f"source: digits\n  target: {coarse.target}"))
    assert ask(project, class_name="cat").told == ()
    assert ask(project, class_name="pet").told == ("The class 'pet' keeps no sample.",)


def test_an_unknown_class_is_refused_with_the_names_of_all(project):
    assert refusal(project, class_name="jane") == (
        "there is no such class; the classes are 'cat', 'dog', 'owl', 'wild', 'pet'"
    )


def test_of_many_classes_the_first_twenty_are_named(project):
    path = project / "data" / "prepared" / "meta.json"
    more = ", ".join(f'"c{n}"' for n in range(30))
    path.write_text(path.read_text().replace('"owl"', f'"owl", {more}'))
    message = refusal(project, class_name="jane")
    assert message.count("'") == 40
    assert message.endswith(", and 15 more in meta.json")


def test_a_class_of_which_nothing_is_left_is_refused(project):
    path = project / "data" / "prepared" / "meta.json"
    path.write_text(path.read_text().replace('"owl"', '"owl", "emu"'))
    assert "no prepared image of this class is left" in refusal(project, class_name="emu")


@pytest.mark.parametrize(("name", "fits"), [("wild", True), ("pet", False)])
def test_a_class_that_is_called_like_a_superclass_must_have_the_same_samples(project, name, fits):
    path = project / "data" / "prepared" / "meta.json"
    path.write_text(path.read_text().replace('"owl"', f'"{name}"'))
    if fits:
        assert len(samples(project, class_name=name)) == COUNT // 3
    else:
        assert "have this name" in refusal(project, class_name=name)
