"""What pending requests mean for one model."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qunlearn.deletion import make_plan

IMAGES = [f"all-{number:06d}" for number in range(10)]
TRAINED = IMAGES[:6]


@pytest.fixture
def plan(tmp_path):
    def planner(*requests, trained=TRAINED, images=IMAGES, erased=frozenset()):
        files = []
        for number, lines in enumerate(requests):
            files.append(tmp_path / f"{number}.txt")
            files[-1].write_text("\n".join(lines) + "\n")
        return make_plan(files, trained_ids=trained, image_ids=images, erased_ids=frozenset(erased))

    return planner


def reasons(plan):
    return [reason for _, reason in plan.rejected]


def test_requests_are_carried_out_together_and_the_rest_is_kept_in_order(plan):
    found = plan([IMAGES[4]], [IMAGES[1], IMAGES[4]])
    assert found.forget == (IMAGES[1], IMAGES[4])
    assert found.retain == (IMAGES[0], IMAGES[2], IMAGES[3], IMAGES[5])
    assert found.ids == (IMAGES[4], IMAGES[1])
    assert found.rejected == ()


def test_a_sample_the_model_never_saw_is_erased_without_unlearning(plan):
    found = plan([IMAGES[8]])
    assert found.ids == (IMAGES[8],)
    assert found.forget == ()
    assert found.retain == tuple(TRAINED)


def test_a_sample_that_was_erased_before_is_no_mistake(plan):
    found = plan(["all-000099"], erased={"all-000099"})
    assert found.ids == ("all-000099",)
    assert found.forget == ()


def test_a_bad_request_is_rejected_alone(plan):
    found = plan([IMAGES[0]], ["nobody"], [IMAGES[2]])
    assert found.ids == (IMAGES[0], IMAGES[2])
    assert [path.name for path, _ in found.rejected] == ["1.txt"]


def test_nothing_of_a_request_with_one_unknown_id_is_carried_out(plan):
    found = plan([IMAGES[0], "nobody"])
    assert (found.ids, found.forget) == ((), ())


def test_a_trained_sample_without_its_image_cannot_be_unlearned(plan):
    found = plan([TRAINED[0]], images=IMAGES[1:])
    assert found.accepted == ()
    assert "images are no longer" in reasons(found)[0]


def test_the_request_that_would_take_the_last_training_sample_is_rejected(plan):
    found = plan(TRAINED[:3], TRAINED[3:], TRAINED[3:5])
    assert "would keep no training data" in reasons(found)[0]
    assert found.forget == tuple(TRAINED[:5])
    assert found.retain == (TRAINED[5],)


def test_no_file_means_nothing_to_do(plan):
    found = plan()
    assert (found.accepted, found.rejected, found.forget) == ((), (), ())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    asked=st.lists(st.lists(st.sampled_from([*IMAGES, "nobody"]), min_size=1, max_size=5), max_size=4),
    trained=st.lists(st.sampled_from(IMAGES), min_size=1, unique=True),
)
def test_forget_and_retain_always_part_the_training_data(plan, asked, trained):
    found = plan(*asked, trained=trained)
    assert sorted([*found.forget, *found.retain]) == sorted(trained)
    assert found.retain
    assert set(found.forget) == set(found.ids) & set(trained)
    assert len(found.accepted) + len(found.rejected) == len(asked)
