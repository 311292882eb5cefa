"""From names to what the ledger keeps: what is accepted and told, what is refused, and that nothing is repeated."""

import random
import re
import time
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qunlearn.deletion import intake
from qunlearn.deletion.identity import Key
from qunlearn.deletion.intake import KnownSamples, make_asked, one_month_after, read_date
from qunlearn.deletion.names import IntakeError, read_names

TODAY = date(2026, 11, 21)
KEY = Key(bytes(range(32)))
TRAIN = tuple(f"train-00000{n}-{n:012x}" for n in range(6))
HELD_OUT = tuple(f"test-00000{n}-{n:012x}" for n in range(3))
ERASED = "train-000009-00000000beef"
IN_FOLDER = "img-0123456789abcdef0123"
PATHS = {"cat/1.png": TRAIN[0], "Jane Doe": TRAIN[1], "new/1.png": IN_FOLDER}
KNOWN = KnownSamples(
    ids=frozenset(TRAIN + HELD_OUT),
    erased=frozenset({ERASED}),
    training=frozenset(TRAIN),
    classes={"cat": frozenset(TRAIN[:2] + HELD_OUT[:1]), "dog": frozenset(TRAIN[2:] + HELD_OUT[1:])},
    named=PATHS.get,
)


def ask(*named, known=KNOWN, kind="file", **options):
    return make_asked(enumerate(named, start=1), kind=kind, known=known, key=KEY, today=TODAY, **options)


def told(*named, **options):
    return " ".join(ask(*named, **options).told)


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_known_ids_are_kept_in_the_order_of_their_names_and_nothing_is_told():
    result = ask(TRAIN[3], HELD_OUT[0], TRAIN[2])
    assert result.asked.samples == (TRAIN[3], HELD_OUT[0], TRAIN[2])
    assert (result.asked.unknown, result.asked.kind, result.told) == ((), "file", ())


def test_the_rest_is_kept_as_it_is_given():
    asked = ask(TRAIN[0], kind="group", subject="a" * 64, reference="b" * 64, classes=("cat",)).asked
    assert (asked.kind, asked.subject, asked.reference, asked.classes) == ("group", "a" * 64, "b" * 64, ("cat",))


def test_unknown_names_are_accepted_and_kept_only_as_keyed_hashes():
    result = ask(TRAIN[0], "jane-doe", "john-doe")
    assert result.asked.samples == (TRAIN[0],)
    assert result.asked.unknown == (KEY.hashed("sample", "jane-doe"), KEY.hashed("sample", "john-doe"))
    assert re.search(r"Not known here: 2 names, kept only as keyed hashes", " ".join(result.told))
    assert "doe" not in repr(result)
    assert "not present" not in " ".join(result.told)


def test_a_request_of_unknown_names_alone_is_accepted_and_says_how_it_will_end():
    result = ask("jane-doe")
    assert (result.asked.samples, len(result.asked.unknown)) == ((), 1)
    assert "it will complete as `not present`" in " ".join(result.told)


def test_the_beginning_of_an_id_names_nothing():
    result = ask(TRAIN[0][:12])
    assert result.asked.samples == ()
    assert "give whole ids" in " ".join(result.told)


def test_repetitions_are_folded_and_told_also_under_another_name():
    result = ask(TRAIN[0], "jane-doe", TRAIN[0], "cat/1.png", "jane-doe")
    assert (result.asked.samples, len(result.asked.unknown)) == ((TRAIN[0],), 1)
    assert "3 repetitions" in " ".join(result.told)


def test_samples_that_are_erased_already_are_accepted_and_told():
    result = ask(ERASED, TRAIN[0])
    assert result.asked.samples == (ERASED, TRAIN[0])
    assert result.told == ("Erased by an earlier request: 1 sample.",)
    assert "complete as `already erased`" in told(ERASED)
    assert "complete as `already erased`" not in told(ERASED, "jane-doe")


def test_another_name_of_a_sample_is_kept_as_its_id():
    result = ask("cat/1.png", "Jane Doe")
    assert (result.asked.samples, result.asked.unknown) == (TRAIN[:2], ())
    assert "Jane" not in repr(result)


def test_an_image_that_was_never_ingested_is_recorded_and_told():
    result = ask("new/1.png")
    assert result.asked.samples == (IN_FOLDER,)
    assert "neither prepared nor in any readable list of training images: 1 image" in " ".join(result.told)


def test_what_was_found_for_a_group_is_kept_also_where_it_was_never_ingested():
    result = ask(TRAIN[0], IN_FOLDER, kind="group", known=replace(KNOWN, named={}.get))
    assert (result.asked.samples, result.asked.unknown) == ((TRAIN[0], IN_FOLDER), ())
    assert "1 image, not ingested or changed since" in " ".join(result.told)


# --- classes and the whole set ---------------------------------------------------------------------------------------


def test_a_whole_class_may_go_and_is_told():
    assert told(*sorted(KNOWN.classes["cat"]), kind="class", classes=("cat",)) == "The class 'cat' keeps no sample."


def test_all_training_samples_of_a_class_without_its_held_out_ones_is_a_warning():
    text = told(*TRAIN[:2])
    assert text.startswith("Warning: the class 'cat' keeps no training sample, but 1 that are held out")
    assert told(TRAIN[0]) == ""


def test_a_class_that_nobody_trained_on_gives_no_warning():
    classes = {"owl": frozenset(HELD_OUT[:2])}
    assert told(HELD_OUT[0], known=replace(KNOWN, classes=classes)) == ""
    assert "keeps no sample" in told(*HELD_OUT[:2], known=replace(KNOWN, classes=classes))
    assert told(TRAIN[0], known=replace(KNOWN, classes={"owl": frozenset()})) == ""


def test_all_training_samples_are_refused_with_the_advice_to_withdraw_the_model():
    with pytest.raises(IntakeError, match=r"all 6 training samples.*withdraw the served model"):
        ask(*TRAIN, "jane-doe")
    assert ask(*TRAIN[1:], *HELD_OUT).asked.samples


def test_what_is_erased_already_does_not_count_as_left():
    with pytest.raises(IntakeError, match="all 6 training samples"):
        ask(*TRAIN, known=replace(KNOWN, training=KNOWN.training | {ERASED}))


def test_where_nobody_knows_the_training_set_nothing_is_refused():
    assert ask(*TRAIN, known=replace(KNOWN, training=frozenset())).asked.samples == TRAIN
    assert ask("jane-doe", known=replace(KNOWN, training=frozenset({ERASED}))).asked.unknown


# --- refused ---------------------------------------------------------------------------------------------------------

MALFORMED = [
    "jane.doe@example.org",
    "../../etc/passwd",
    "/etc/passwd",
    "cat/9.png",
    "jane doe",
    "jane\x1b[31mdoe",
    "jane\x7fdoe",
    "jane\u200bdoe",
    "zoë",
    "",
    "-jane",
    "x" * 129,
    "jane;doe",
]


@pytest.mark.parametrize("name", MALFORMED)
def test_one_malformed_name_refuses_the_whole_request_by_its_line_and_repeats_nothing(name):
    with pytest.raises(IntakeError, match=r"1 of the 3 names cannot name a sample \(line 2\)") as error:
        ask(TRAIN[0], name, TRAIN[1])
    for part in ("jane", "doe", "passwd", "9.png", "zoë", "xxx"):
        assert part not in str(error.value)
    assert error.value.__context__ is None


def test_of_many_malformed_names_the_first_lines_are_told():
    with pytest.raises(IntakeError, match=r"30 of the 30 names .*\(line 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, \.\.\.\)"):
        ask(*["a b"] * 30)
    with pytest.raises(IntakeError, match=r"1 of the 2 names .*\(name number 2\)"):
        ask(TRAIN[0], "a b", kind="sample")


def test_a_request_without_any_name_is_refused():
    with pytest.raises(IntakeError, match="names no sample"):
        ask()


def test_more_unknown_names_than_anybody_has_are_refused(monkeypatch):
    monkeypatch.setattr(intake, "MOST_UNKNOWN", 3)
    assert len(ask("a", "b", "c", "c").asked.unknown) == 3
    with pytest.raises(IntakeError, match="more than 3 of the names"):
        ask("a", "b", "c", "d")


# --- dates -----------------------------------------------------------------------------------------------------------


def test_without_a_due_date_it_is_one_calendar_month():
    assert ask(TRAIN[0]).asked.due == date(2026, 12, 21)
    assert ask(TRAIN[0], due=TODAY).asked.due == TODAY


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2027, 1, 31), date(2027, 2, 28)),
        (date(2028, 1, 30), date(2028, 2, 29)),
        (date(2026, 12, 31), date(2027, 1, 31)),
        (date(2026, 3, 31), date(2026, 4, 30)),
    ],
)
def test_a_month_that_is_too_short_ends_on_its_last_day(day, expected):
    assert one_month_after(day) == expected


def test_a_due_date_in_the_past_is_refused_before_any_name_is_read():
    def unread():
        raise AssertionError
        yield

    with pytest.raises(IntakeError, match=r"2026-11-20 is in the past; today is 2026-11-21"):
        make_asked(unread(), kind="file", known=KNOWN, key=KEY, due=date(2026, 11, 20), today=TODAY)


@pytest.mark.parametrize("text", ["2030-01-31", "9999-12-31"])
def test_a_date_is_read(text):
    assert read_date(text) == date.fromisoformat(text)


@pytest.mark.parametrize(
    "text", ["", "20300131", "2030-W05-4", "31.01.2030", "2030-02-30", "2030-1-1", "٢٠٣٠-01-31", "2030-01-31\n", "jane"]
)
def test_another_way_to_write_a_date_is_refused_and_not_repeated(text):
    with pytest.raises(IntakeError, match="written as YYYY-MM-DD") as error:
        read_date(text)
    assert not text or text not in str(error.value)


@pytest.mark.parametrize("kind", ["txt", pytest.param("csv", marks=pytest.mark.slow)])
def test_a_million_lines_take_seconds(tmp_path, kind):
    known = [f"train-{n:06d}-{n:012x}" for n in range(1000)]
    path = tmp_path / f"a.{kind}"
    path.write_text("".join(f"{known[n % 1000]}\n" for n in range(1_000_000)))
    wide = replace(KNOWN, ids=frozenset(known), training=frozenset())
    begun = time.process_time()
    result = make_asked(read_names(path), kind="file", known=wide, key=KEY, today=TODAY)
    seconds = time.process_time() - begun
    assert result.asked.samples == tuple(known)
    assert "999,000 repetitions" in " ".join(result.told)
    assert seconds < 20.0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.text(max_size=100).map(str.encode),
        st.lists(st.sampled_from([*TRAIN, "jane-doe", "# jane", "a b", '"', ",", "sample_id", "cat/1.png", "\t"])).map(
            lambda lines: "\n".join(lines).encode()
        ),
    ),
    kind=st.sampled_from(["txt", "csv"]),
)
def test_any_bytes_are_refused_or_become_known_ids_and_hashes(tmp_path, content, kind):
    path = tmp_path / f"any.{kind}"
    path.write_bytes(content)
    try:
        asked = make_asked(read_names(path), kind="file", known=KNOWN, key=KEY, today=TODAY).asked
    except IntakeError:
        return
    assert asked.samples or asked.unknown
    assert set(asked.samples) <= KNOWN.ids | KNOWN.erased | {IN_FOLDER}
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in asked.unknown)
    assert asked.as_json()


@settings(deadline=None)
@given(st.lists(st.sampled_from([*TRAIN[:5], *HELD_OUT, ERASED, "jane-doe", "john-doe"]), min_size=1, max_size=30))
def test_every_name_is_counted_once_as_sample_as_unknown_or_as_repetition(named):
    result = ask(*named)
    shown = re.search(r"([0-9]+) repetition", " ".join(result.told))
    repeated = int(shown[1]) if shown else 0
    assert len(named) == len(result.asked.samples) + len(result.asked.unknown) + repeated
    assert set(result.asked.samples) == {one for one in named if "doe" not in one}
    again = ask(*random.Random(0).sample(named, len(named)))
    assert set(again.asked.samples) == set(result.asked.samples)
