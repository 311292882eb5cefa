"""Data are written again without erased samples, whole or not at all, and nothing else moves."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_pipeline import SMALL, write_params

from qunlearn.data import erased, imageset
from qunlearn.data.splits import check_gate, load_split, make_split, save_split
from tasks import preparation
from tasks.rewriting import RewriteError, check_rewrite, rewrite, settle
from tasks.workspace import Workspace

SIZE = 150


def make(folder: Path, **split) -> Workspace:
    """A project with prepared digits and a split."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "erased.txt").write_text("# ids\n")
    scenario = {"scenario": {"kind": "random", "fraction": 0.1}} | split
    path = write_params(folder, SMALL | {"data": {"source": "digits", "subset": SIZE}, "split": scenario})
    workspace = Workspace.open(path)
    preparation.ingest.fn(workspace)
    preparation.split.fn(workspace)
    return workspace


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Workspace:
    return make(tmp_path_factory.mktemp("rewriting") / "original")


@pytest.fixture
def workspace(original, tmp_path) -> Workspace:
    return copied(original, tmp_path / "copy")


def copied(original: Workspace, folder: Path) -> Workspace:
    shutil.copytree(original.root, folder)
    return Workspace(root=folder, params=original.params)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def data(workspace: Workspace) -> dict[str, bytes]:
    """All files of both folders, and whatever lies beside them, but the list and its lock."""
    found = content(workspace.root / "data")
    return {name: found[name] for name in found if "erased.txt" not in name}


def rows(workspace: Workspace) -> dict[str, tuple[str, str]]:
    split = load_split(workspace.splits)
    columns = zip(split.id_column, split.partition_column, split.subset_column, strict=True)
    return {one: (partition, subset) for one, partition, subset in columns}


def test_prepared_data_come_out_as_ingesting_would_write_them_now(workspace, tmp_path):
    gone = imageset.load(workspace.prepared).ids[3:40:5]
    erased.append_erased(workspace.erased, gone)
    assert rewrite(workspace).written == ("data/prepared", "data/splits")
    rewritten = content(workspace.prepared)
    preparation.ingest.fn(workspace)
    assert content(workspace.prepared) == rewritten
    assert set(imageset.load(workspace.prepared).ids).isdisjoint(gone)


def test_no_other_sample_of_the_split_moves(workspace):
    before, split = rows(workspace), load_split(workspace.splits)
    # Making the split anew would draw another sample to forget for each of these.
    gone = {*split.ids("train", "forget")[:2], *split.ids("test")[:3], *split.ids("train", "retain")[:4]}
    erased.append_erased(workspace.erased, gone)
    report = rewrite(workspace)
    assert rows(workspace) == {one: row for one, row in before.items() if one not in gone}
    assert (report.prepared, report.splits, report.told) == (9, 9, ())


def test_the_result_passes_the_gate_for_a_model_trained_on_the_rest(workspace):
    split = load_split(workspace.splits)
    gone = {*split.ids("train")[:5], *split.ids("validation")[:1]}
    rest = set(split.ids("train")) - gone
    erased.append_erased(workspace.erased, gone)
    rewrite(workspace)
    images, new = imageset.load(workspace.prepared), load_split(workspace.splits)
    assert new.manifest["image_set_digest"] == images.digest()
    assert new.manifest["erased_sha256"] == erased.digest(workspace.erased)
    unchanged = {"settings", "seed", "validation", "test", "target", "classes", "forgotten_classes", "scenario"}
    assert {key: new.manifest[key] for key in unchanged} == {key: split.manifest[key] for key in unchanged}
    check_gate(
        trained_ids=rest,
        forget_ids=new.ids("train", "forget"),
        retain_ids=new.ids("train", "retain"),
        held_out_ids=[*new.ids("validation"), *new.ids("test")],
    )


def test_a_second_time_nothing_is_written(workspace):
    erased.append_erased(workspace.erased, imageset.load(workspace.prepared).ids[:3])
    rewrite(workspace)
    folders = {folder: folder.stat().st_ino for folder in (workspace.prepared, workspace.splits)}
    again = rewrite(workspace)
    assert (again.prepared, again.splits, again.written) == (0, 0, ())
    assert {folder: folder.stat().st_ino for folder in folders} == folders


def test_ids_that_the_data_do_not_hold_change_the_splits_record_of_the_list_alone(workspace):
    before = data(workspace)
    erased.append_erased(workspace.erased, ["all-999999-0123456789ab"])
    assert rewrite(workspace).written == ("data/splits",)
    after = data(workspace)
    assert {name for name in before if before[name] != after[name]} == {"splits/manifest.json"}
    assert load_split(workspace.splits).manifest["erased_sha256"] == erased.digest(workspace.erased)


def test_without_data_there_is_nothing_to_write(workspace):
    shutil.rmtree(workspace.splits)
    erased.append_erased(workspace.erased, imageset.load(workspace.prepared).ids[:1])
    assert rewrite(workspace).written == ("data/prepared",)
    shutil.rmtree(workspace.prepared)
    assert rewrite(workspace).written == ()


# --- links into a cache ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_cache_that_the_files_link_into_is_not_written_to(workspace, tmp_path, link):
    cache = tmp_path / "cache"
    for folder in (workspace.prepared, workspace.splits):
        (cache / folder.name).mkdir(parents=True)
        for file in list(folder.iterdir()):
            cached = cache / folder.name / file.name
            shutil.move(file, cached)
            cached.chmod(0o444)
            link(file, cached)
    before = content(cache)
    erased.append_erased(workspace.erased, imageset.load(workspace.prepared).ids[:3])
    rewrite(workspace)
    assert content(cache) == before
    assert not any(file.is_symlink() or file.stat().st_nlink > 1 for file in workspace.prepared.iterdir())


def test_a_folder_that_is_itself_a_link_is_refused(workspace, tmp_path):
    shutil.move(workspace.prepared, tmp_path / "elsewhere")
    workspace.prepared.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RewriteError, match="is a link, and what it leads to would stay"):
        rewrite(workspace)


# --- killed anywhere -------------------------------------------------------------------------------------------------


def killed_at(call: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Rewrite in another process that ends at the n-th rename or fsync; False if it needed fewer."""
    child = os.fork()
    if child == 0:
        calls = 0

        def counted(function):
            def wrapper(*args, **kwargs):
                nonlocal calls
                calls += 1
                if calls == call:
                    os._exit(9)
                return function(*args, **kwargs)

            return wrapper

        monkeypatch.setattr(Path, "rename", counted(Path.rename))
        monkeypatch.setattr(os, "fsync", counted(os.fsync))
        try:
            rewrite(workspace)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_after_a_kill_at_any_step_the_next_call_gives_what_an_undisturbed_one_does(original, tmp_path, monkeypatch):
    split = load_split(original.splits)
    gone = [*split.ids("train")[:3], *split.ids("test")[:2]]
    undisturbed = copied(original, tmp_path / "undisturbed")
    erased.append_erased(undisturbed.erased, gone)
    rewrite(undisturbed)
    kills = 0
    while True:
        workspace = copied(original, tmp_path / f"killed-{kills}")
        erased.append_erased(workspace.erased, gone)
        if not killed_at(kills + 1, workspace, monkeypatch):
            break
        kills += 1
        rewrite(workspace)
        assert data(workspace) == data(undisturbed), f"killed at call {kills}"
    # An fsync for each of seven files, for both folders and their parent, and two renames each.
    assert kills == 7 + 2 + 2 + 4


def test_what_a_killed_writer_left_beside_the_data_goes_even_if_nothing_is_to_be_written(workspace):
    shutil.copytree(workspace.prepared, workspace.prepared.with_name(".prepared.retired"))
    shutil.copytree(workspace.splits, workspace.splits.with_name(".splits.writing"))
    rewrite(workspace)
    assert sorted(path.name for path in (workspace.root / "data").iterdir() if path.is_dir()) == ["prepared", "splits"]


def test_data_that_a_kill_moved_aside_come_back(workspace):
    before = content(workspace.prepared)
    workspace.prepared.rename(workspace.prepared.with_name(".prepared.retired"))
    settle(workspace.prepared)
    assert content(workspace.prepared) == before


# --- refusals --------------------------------------------------------------------------------------------------------


def of_class(workspace: Workspace, label: int, partition: str | None = None) -> list[str]:
    images, table = imageset.load(workspace.prepared), rows(workspace)
    return [
        one
        for one, own in zip(images.ids, images.labels, strict=True)
        if own == label and partition in (None, table[one][0])
    ]


def test_a_class_that_would_keep_images_but_none_to_train_on_is_refused_before_anything_changes(workspace):
    before = data(workspace)
    gone = of_class(workspace, 3, "train")
    with pytest.raises(RewriteError, match=r"class number 3 would keep \d+ images .* none to train on"):
        check_rewrite(workspace, frozenset(gone))
    erased.append_erased(workspace.erased, gone)
    with pytest.raises(RewriteError, match="class number 3"):
        rewrite(workspace)
    assert data(workspace) == before


def test_a_whole_class_can_go(workspace):
    erased.append_erased(workspace.erased, of_class(workspace, 3))
    rewrite(workspace)
    assert 3 not in imageset.load(workspace.prepared).labels
    assert imageset.load(workspace.prepared).meta.classes == tuple(map(str, range(10)))


@pytest.mark.parametrize("partition", ["validation", "test"])
def test_an_empty_partition_is_refused(workspace, partition):
    erased.append_erased(workspace.erased, load_split(workspace.splits).ids(partition))
    with pytest.raises(RewriteError, match=f"all {partition} images would be erased"):
        rewrite(workspace)


def test_nothing_left_is_refused(workspace):
    with pytest.raises(RewriteError, match="nothing would be left to train"):
        check_rewrite(workspace, frozenset(imageset.load(workspace.prepared).ids))


def test_nothing_left_to_forget_is_told_and_done(workspace):
    erased.append_erased(workspace.erased, load_split(workspace.splits).ids("train", "forget"))
    (told,) = rewrite(workspace).told
    assert told == "data/splits has no training image left to forget; `dvc repro` makes another split"
    assert rewrite(workspace).told == ()


def test_a_split_of_other_images_is_refused(workspace):
    preparation.ingest.fn(Workspace(workspace.root, small(workspace, subset=100)))
    before = data(workspace)
    erased.append_erased(workspace.erased, imageset.load(workspace.prepared).ids[:1])
    with pytest.raises(ValueError, match="made from other images than data/prepared holds; run `dvc repro split`"):
        rewrite(workspace)
    assert data(workspace) == before


def small(workspace: Workspace, *, subset: int):
    config = workspace.params.data.model_copy(update={"subset": subset})
    return workspace.params.model_copy(update={"data": config})


def test_a_damaged_split_is_refused_by_name(workspace):
    (workspace.splits / "split.csv").write_text("id,partition,subset\n")
    with pytest.raises(ValueError, match=r"split\.csv: does not have the counts"):
        rewrite(workspace)


# --- other splits ----------------------------------------------------------------------------------------------------


def test_adjacent_and_remote_samples_stay_what_they_are(tmp_path):
    scenario = {"kind": "class", "classes": [3], "adjacent": [5]}
    workspace = make(tmp_path / "adjacent", scenario=scenario)
    before, split = rows(workspace), load_split(workspace.splits)
    gone = {*split.ids("train", "adjacent")[:2], *split.ids("train", "remote")[:2], *split.ids("train", "forget")[:2]}
    erased.append_erased(workspace.erased, gone)
    rewrite(workspace)
    assert rows(workspace) == {one: row for one, row in before.items() if one not in gone}
    assert load_split(workspace.splits).manifest["adjacency"] == split.manifest["adjacency"]


def with_official_test(workspace: Workspace) -> imageset.ImageSet:
    """Let every fourth prepared image be one of an official test part, and split anew."""
    images = imageset.load(workspace.prepared)
    part = np.where(np.arange(len(images)) % 4 == 0, "test", "train")
    ids = tuple(f"{own}-{one}" for own, one in zip(part, images.ids, strict=True))
    meta = replace(images.meta, official_test=True)
    official = imageset.ImageSet(np.array(images.images), images.labels, ids, images.coarse, None, meta)
    shutil.rmtree(workspace.prepared)
    imageset.save(official, workspace.prepared)
    digest = erased.digest(workspace.erased)
    split = make_split(official, workspace.params.split, target="fine", erased=frozenset(), erased_digest=digest)
    save_split(split, workspace.splits)
    return official


def test_statistics_are_those_of_the_training_part(workspace):
    ids = with_official_test(workspace).ids
    erased.append_erased(workspace.erased, [ids[0], ids[1]])
    rewrite(workspace)
    new = imageset.load(workspace.prepared)
    training = np.array(new.images)[~new.official_test_mask()] / 255.0
    assert new.meta.mean == pytest.approx((training.mean(),), abs=1e-12)
    assert new.meta.std == pytest.approx((training.std(),), abs=1e-12)


def test_an_official_test_part_alone_is_not_enough(workspace):
    images = with_official_test(workspace)
    shutil.rmtree(workspace.splits)
    gone = [one for one, official in zip(images.ids, images.official_test_mask(), strict=True) if not official]
    with pytest.raises(RewriteError, match="nothing would be left to train"):
        check_rewrite(workspace, frozenset(gone))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.sets(st.integers(0, SIZE - 1), min_size=1, max_size=SIZE))
def test_any_choice_of_samples_is_either_refused_or_gone_while_all_others_stay(original, tmp_path, chosen):
    folder = tmp_path / "drawn"
    shutil.rmtree(folder, ignore_errors=True)
    workspace = copied(original, folder)
    images, table = imageset.load(workspace.prepared), rows(workspace)
    gone = {images.ids[place] for place in chosen}
    kept = {one: row for one, row in table.items() if one not in gone}
    parts = {row[0] for row in kept.values()}
    labels = dict(zip(images.ids, images.labels.tolist(), strict=True))
    trained = {labels[one] for one, row in kept.items() if row[0] == "train"}
    possible = parts == {"train", "validation", "test"} and trained == {labels[one] for one in kept}
    before = data(workspace)
    erased.append_erased(workspace.erased, gone)
    try:
        rewrite(workspace)
    except RewriteError:
        assert not possible
        assert data(workspace) == before
        return
    assert possible
    assert rows(workspace) == kept
    new = imageset.load(workspace.prepared)
    keep = [one not in gone for one in images.ids]
    assert new.ids == tuple(kept)
    assert (new.images == images.images[keep]).all()
    assert (new.labels == images.labels[keep]).all()
    assert (new.coarse == images.coarse[keep]).all()
