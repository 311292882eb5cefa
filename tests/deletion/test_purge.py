"""What must go, what stays and what is only told, decided from an inventory."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qunlearn.deletion.purge import Action, Entry, PurgePlan, make_plan, may_hold_samples
from qunlearn.deletion.purge_errors import PurgeError
from qunlearn.deletion.purge_inventory import (
    DATA,
    MODEL,
    OBJECT,
    QUARANTINED,
    RUN_CACHE,
    RUN_FILE,
    TEMPORARY,
    DataFolder,
    Inventory,
    Leftover,
    Outside,
    RunFile,
)
from qunlearn.deletion.purge_models import StoredModel, check_served, reasons
from qunlearn.deletion.purge_objects import Depot, Version


def model(name: str, erased: int | None = 0, *parents: str, **settings) -> StoredModel:
    return StoredModel(name, name, f"sha256:{name}", f"MLflow, model {name}", erased, parents, **settings)


SERVED = {"served": True, "registered": True}


def decided(*models: StoredModel, policy="purge") -> dict[str, str]:
    """Model -> what happens to it."""
    plan = make_plan(Inventory(models=models), models=policy)
    return {entry.target: entry.action.value for entry in plan.of(kind=MODEL)}


# --- models ----------------------------------------------------------------------------------------------------------


def test_models_trained_on_erased_samples_go_with_all_that_were_made_from_them():
    models = [
        model("original", 2, registered=True),
        model("unlearned", 0, "original"),
        model("again", 0, "unlearned"),
        model("champion", 0, "original", **SERVED),
        model("reference", 0),
        model("retrain", 1),
    ]
    assert decided(*models) == dict.fromkeys(("original", "unlearned", "again", "retrain"), "remove")


def test_reasons_name_the_link_to_the_erased_samples():
    found = reasons([model("a", 2), model("b", 0, "a"), model("c", 0, "b"), model("d", 1)])
    assert found == {
        "a": "was trained on 2 erased samples",
        "b": "was made from a, which was trained on 2 erased samples",
        "c": "was made from b, which was made from a",
        "d": "was trained on 1 erased sample",
    }


def test_what_was_made_from_the_served_model_goes_too():
    models = [model("original", 1), model("champion", 0, "original", **SERVED), model("trial", 0, "champion")]
    assert decided(*models) == {"original": "remove", "trial": "remove"}


def test_a_served_model_that_was_trained_anew_taints_nothing():
    assert decided(model("champion", 0, **SERVED), model("trial", 0, "champion")) == {}


def test_what_cannot_be_told_counts_as_trained_on_them():
    assert decided(model("unknown", None), model("child", 0, "unknown")) == {"unknown": "remove", "child": "remove"}
    assert decided(model("orphan", 0, "not recorded")) == {"orphan": "remove"}


def test_models_without_bytes_are_only_marked_and_marked_ones_left_alone():
    assert decided(model("a", 1, kept=False)) == {"a": "remove"}
    assert decided(model("a", 1, kept=False, marked=True)) == {}
    # Their bytes came back, for example from a backup.
    assert decided(model("a", 1, kept=True, marked=True)) == {"a": "remove"}
    # Somebody else removed them: nothing to remove, and not ours to mark.
    assert decided(model("a", None, kept=False)) == {}


def test_models_with_equal_weights_are_told_apart_by_their_training_images():
    twin = replace(model("twin", 0), weights="sha256:same")
    assert decided(replace(model("original", 1), weights="sha256:same"), twin) == {"original": "remove"}


def test_quarantine_is_for_models_of_the_benchmark():
    models = [
        model("original", 1, benchmark=True),
        model("shadow", 1),
        model("superseded", 1, benchmark=True, registered=True),
        model("damaged", 1, benchmark=True, kept=False),
        model("champion", 0, "superseded", **SERVED),
    ]
    removed = dict.fromkeys(("shadow", "superseded", "damaged"), "remove")
    assert decided(*models, policy="quarantine") == {"original": "quarantine", **removed}
    assert decided(*models) == {"original": "remove", **removed}


def test_a_purge_before_the_served_model_has_unlearned_is_refused():
    with pytest.raises(PurgeError, match="trained on 3 of the erased samples; run the deletion flow first"):
        make_plan(Inventory(models=(model("champion", 3, **SERVED),)), models="purge")
    with pytest.raises(PurgeError, match="list of its training images is gone or damaged"):
        check_served([model("champion", None, **SERVED)])


def test_versions_without_a_champion_are_refused_since_the_served_one_would_go():
    with pytest.raises(PurgeError, match="none of them is the champion; set the alias"):
        check_served([model("v1", 1, registered=True)])
    check_served([model("v1", 1, registered=True, marked=True)])
    check_served([model("original", 1)])


@st.composite
def families(draw):
    """Models with some parents among all of them; cycles cannot occur in a store, and do no harm."""
    names = [f"m{number}" for number in range(draw(st.integers(1, 8)))]
    served = draw(st.sampled_from([None, *names]))
    return [
        model(
            name,
            0 if name == served else draw(st.sampled_from([0, 0, 1, None])),
            *draw(st.sets(st.sampled_from([*names, "elsewhere"]), max_size=3)),
            served=name == served,
            registered=name == served,
            benchmark=draw(st.booleans()),
        )
        for name in names
    ]


@given(families(), st.sampled_from(["purge", "quarantine"]))
def test_exactly_the_models_with_a_tainted_ancestor_go(models, policy):
    known = {one.id: one for one in models}

    def tainted(name: str, seen: frozenset[str] = frozenset()) -> bool:
        if name not in known:
            return True
        own = known[name]
        return own.erased != 0 or any(tainted(parent, seen | {name}) for parent in own.parents if parent not in seen)

    expected = {one.id for one in models if tainted(one.id) and not one.served}
    assert decided(*models, policy=policy).keys() == expected


# --- DVC's objects ---------------------------------------------------------------------------------------------------

IMAGES = Version("p1.dir", {"images.npy": "i1", "labels.npy": "l1", "ids.txt": "t1", "meta.json": "m"})
NEWER = Version("p2.dir", {"images.npy": "i2", "labels.npy": "l2", "ids.txt": "t2", "meta.json": "m"})
SPLIT = Version("s1.dir", {"split.csv": "c1", "manifest.json": "f1"})
THEIRS = Version("x.dir", {"a.csv": "a", "ids.txt": "t9"})
ALL = (IMAGES, NEWER, SPLIT, THEIRS)


def depot(*versions: Version, found=(), **settings) -> Depot:
    oids = frozenset().union(*(one.oids for one in versions))
    complete = {"name": "cache", "oids": oids, "searched": oids, "found": dict.fromkeys(found, "1 erased id")}
    return Depot(**{**complete, "versions": versions, **settings})


def test_a_version_with_erased_samples_goes_whole_but_for_what_another_version_needs():
    found = depot(*ALL, found=["t1", "c1"])
    assert found.gone.keys() == {"i1", "l1", "t1", "p1.dir", "c1", "f1", "s1.dir"}
    assert found.gone["t1"] == "holds 1 erased id"
    assert found.gone["l1"] == "belongs to a version of the data whose ids.txt holds 1 erased id"


def test_an_erased_image_is_as_good_a_reason_as_an_id():
    assert "l1" in depot(IMAGES, found=["i1"]).gone


def test_versions_without_erased_samples_stay():
    assert depot(*ALL).gone == {}


def test_a_version_whose_list_of_samples_is_gone_cannot_be_told_and_goes():
    found = depot(IMAGES, oids=frozenset({"i1", "l1", "m", "p1.dir"}), searched=frozenset({"i1", "l1", "m", "p1.dir"}))
    assert found.gone.keys() == {"i1", "l1", "m", "p1.dir"}
    # Another store has the list: then it can be told.
    assert depot(IMAGES, oids=frozenset({"i1", "l1"})).gone == {}


def test_objects_of_a_version_that_is_listed_elsewhere_go_too():
    assert depot(IMAGES, found=["t1"], oids=frozenset({"l1"})).gone.keys() == {"l1"}


def test_a_persons_own_folder_is_not_touched_and_is_told():
    found = depot(*ALL, found=["t9"])
    assert (found.gone, found.others) == ({}, {"t9": "1 erased id"})


def test_what_is_tracked_now_is_not_touched_and_is_told():
    found = depot(IMAGES, found=["t1"], needed=frozenset({"t1", "l1"}))
    assert found.gone.keys() == {"i1", "m", "p1.dir"}
    assert found.others == {"t1": "1 erased id"}


def test_a_single_object_with_erased_samples_goes():
    assert depot(NEWER, found=["metrics"], oids=NEWER.oids | {"metrics"}).gone.keys() == {"metrics"}


def test_entries_of_the_run_cache_go_with_the_versions_they_would_bring_back():
    runs = {"a/b/c": frozenset({"p1.dir"}), "a/d/e": frozenset({"p2.dir"}), "a/f/g": frozenset()}
    gone = depot(*ALL, found=["t1", "a/f/g"], run_cache=runs).gone
    assert gone["a/b/c"] == "would bring back a version of the data that holds erased samples"
    assert gone["a/f/g"] == "holds 1 erased id"
    assert "a/d/e" not in gone


@given(
    found=st.sets(st.sampled_from(sorted(frozenset().union(*(one.oids for one in ALL))))),
    present=st.sets(st.sampled_from(sorted(frozenset().union(*(one.oids for one in ALL))))),
    needed=st.sets(st.sampled_from(["m", "l1", "i2", "a", "p1.dir"])),
    searched=st.booleans(),
)
def test_no_choice_of_objects_leaves_a_trace_untold_or_takes_what_is_needed(found, present, needed, searched):
    one = depot(
        *ALL,
        found=found & present,
        oids=frozenset(present),
        needed=frozenset(needed),
        **({} if searched else {"searched": frozenset(present)}),
    )
    gone = one.gone.keys()
    assert found & present == (found & gone) | one.others.keys()
    assert gone <= present
    assert not gone & (needed | THEIRS.oids)
    for version in (IMAGES, NEWER, SPLIT):
        if version.oid in gone:
            assert (version.oids & present) - gone <= one._kept


# --- files of runs ---------------------------------------------------------------------------------------------------


def run_file(path: str, found: str = "", *models: str) -> RunFile:
    return RunFile("r1", "evaluate", path, "sha256:f", found, frozenset(models))


@pytest.mark.parametrize(
    ("path", "goes"),
    [
        ("tables/steps.parquet", False),
        ("tables/layers.parquet", False),
        ("tables/epochs.parquet", False),
        ("tables/samples.parquet", True),
        ("deep/tables/steps.parquet", True),
        ("cache/logits.npz", True),
        ("export/model.ONNX", True),
        ("weights", True),
        ("quantization/audit.json", False),
        ("figures/conflict.png", False),
        ("report/index.html", False),
        ("lineage/lineage.svg", False),
    ],
)
def test_of_a_run_that_used_erased_models_only_documents_and_known_aggregates_stay(path, goes):
    models = (model("original", 1), model("clean", 0))
    files = (run_file(path, "", "original"), run_file(f"x{path}", "", "clean"))
    plan = make_plan(Inventory(models=models, run_files=files), models="purge")
    assert [entry.name for entry in plan.of(kind=RUN_FILE)] == [path] * goes
    assert may_hold_samples(path) == goes


def test_a_file_that_holds_an_erased_sample_goes_whatever_it_is():
    plan = make_plan(Inventory(run_files=(run_file("search.json", "1 erased id"),)), models="purge")
    (entry,) = plan.entries
    assert (entry.action, entry.why, entry.target) == ("remove", "holds 1 erased id", "r1/search.json")


# --- the plan --------------------------------------------------------------------------------------------------------

FULL = Inventory(
    folders=(DataFolder("data/splits", None, "workspace", 0, "stale"), DataFolder("data/prepared", None, "w", 2)),
    models=(model("m", 1),),
    run_files=(run_file("a.json", "1 erased id"),),
    depots=(depot(IMAGES, found=["t1"], run_cache={"a/b/c": frozenset({"p1.dir"})}),),
    leftovers=(
        Leftover(TEMPORARY, "qunlearn-1", None, "/tmp", "holds 1 erased id", "/tmp/qunlearn-1"),
        Leftover(QUARANTINED, "m-1", None, "quarantine", "was moved aside", "/q/m-1"),
    ),
    outside=(Outside("backups", "backups", "everywhere", "they age"),),
)


def test_data_come_first_and_the_list_of_a_versions_files_after_the_files():
    kinds = [entry.kind for entry in make_plan(FULL, models="purge").entries]
    order = [DATA, RUN_CACHE, OBJECT, MODEL, RUN_FILE, TEMPORARY, QUARANTINED, "backups"]
    assert [kind for kind, _ in itertools.groupby(kinds)] == order
    objects = [entry.target for entry in make_plan(FULL, models="purge").of(kind=OBJECT)]
    assert objects[-1] == "p1.dir"


def test_what_is_in_quarantine_is_told_as_long_as_it_is_to_stay_there():
    (kept,) = make_plan(FULL, models="quarantine").of(kind=QUARANTINED)
    (gone,) = make_plan(FULL, models="purge").of(kind=QUARANTINED)
    assert (kept.action, gone.action) == (Action.OUTSIDE, Action.REMOVE)
    assert "kept there by deletion.models: quarantine" in kept.why


def test_entries_survive_the_way_through_json():
    plan = make_plan(FULL, models="purge")
    entries = json.loads(json.dumps(plan.as_dict()))["entries"]
    assert tuple(Entry.from_dict(entry) for entry in entries) == plan.entries
    with pytest.raises(ValueError, match="burn"):
        Entry.from_dict({**entries[0], "action": "burn"})


def test_digests_name_their_measure():
    digests = {entry.digest for entry in make_plan(FULL, models="purge").of(kind=OBJECT)}
    assert all(digest.startswith("md5:") for digest in digests)


def test_nothing_to_do_where_nothing_is_erased():
    clean = Inventory(
        folders=(DataFolder("data/prepared", None, "w", 0),), models=(model("m", 0),), depots=(depot(*ALL),)
    )
    assert make_plan(clean, models="purge") == PurgePlan(())


def test_a_plan_goes_on_with_an_interrupted_one():
    plan = make_plan(FULL, models="quarantine")
    before = [
        replace(plan.of(kind=MODEL)[0], why="was trained on 1 erased sample, seen before", action=Action.QUARANTINE),
        Entry(OBJECT, "gone", "md5:gone", "cache", Action.REMOVE, "was there", "gone"),
    ]
    joined = plan.with_earlier(before)
    assert joined.of(kind=MODEL)[0].why == "was trained on 1 erased sample, seen before"
    assert joined.of(kind=MODEL)[0].action == plan.of(kind=MODEL)[0].action
    assert "gone" in [entry.target for entry in joined.of(Action.REMOVE, kind=OBJECT)]
    assert len(joined.entries) == len(plan.entries) + 1
    assert joined.with_earlier(before) == joined
