"""The studies of this repository: what each of them must be, and what is told about all of them."""

from __future__ import annotations

import itertools
import re

import pytest
import yaml
from small_studies import ROOT

from qunlearn.config import Params, validate
from qunlearn.unlearning import choices, methods
from studies.__main__ import main
from studies.figures import pictures
from studies.index import index
from studies.overlay import names, overlaid, read, resolved
from studies.page import page
from studies.parameters import base
from studies.publish import RESULTS, published
from tasks.workspace import Workspace

BASE = yaml.safe_load((ROOT / "params.yaml").read_text())
OF_ALL_METHODS = {"digits-all": False, "fashion-random": False, "fashion-class": True}
"""Study of all methods -> whether its forget set has adjacent images."""


def rows(name, arm=None):
    study = read(name)
    return overlaid(BASE, study, arm or study.arm_names[0])["unlearn"]


@pytest.mark.parametrize("name", names())
def test_every_arm_of_every_study_can_be_used(name):
    study = read(name)
    for arm, content in resolved(name, study, BASE).items():
        params = validate(Params, content, where=name)
        assert params.seeds == study.arms.get(arm, {}).get("seeds", study.params["seeds"])
        assert set(params.unlearn) >= set(study.params.get("unlearn", ()))


@pytest.mark.parametrize("name", names())
def test_a_study_without_arms_becomes_the_parameter_file_and_stays_there(name, root):
    study = read(name)
    arm = study.arm_names[0]
    main(["apply", name, "--root", str(root), *(["--arm", arm] if study.arms else [])])
    assert Workspace.open(root / "params.yaml").params.seeds == study.params["seeds"]
    assert base(name, arm, root=root)


@pytest.mark.parametrize("name", names())
def test_no_grid_has_more_than_three_values_of_one_setting(name):
    for arm in read(name).arm_names:
        for row, settings in rows(name, arm).items():
            for setting, values in settings.get("grid", {}).items():
                assert len(values) <= 3, (row, setting)


@pytest.mark.parametrize("name", OF_ALL_METHODS)
def test_the_studies_of_all_methods_have_all_that_their_data_allow(name):
    allowed = {
        one.name
        for one in methods().values()
        if one.name != "retrain" and (OF_ALL_METHODS[name] or not one.needs & {"adjacent", "remote"})
    }
    assert set(rows(name)) == allowed


def test_the_fashion_studies_unlearn_for_at_most_five_epochs():
    for name in ("fashion-random", "fashion-class"):
        for choice in choices(rows(name)).values():
            assert getattr(choice.base, "epochs", 0) <= 5, choice.name


def test_the_ablation_crosses_four_forget_losses_with_six_directions_and_changes_nothing_else():
    found = choices(rows("ablation-grid"))
    losses = ("random", "similar", "entropy", "uniform")
    directions = ("sum", "reweight", "bisector", "pcgrad", "global", "layer")
    assert list(found) == [f"{loss}+{direction}" for loss, direction in itertools.product(losses, directions)]
    assert {one.split("+")[0]: choice.method for one, choice in found.items()} == {
        "random": "random_label",
        "similar": "qmul",
        "entropy": "oeu",
        "uniform": "oeu",
    }
    shared = ("epochs", "batch_size", "momentum", "weight_decay", "optimizer", "schedule", "batch_norm", "augment")
    assert len({tuple(getattr(choice.base, key) for key in shared) for choice in found.values()}) == 1
    assert len({tuple(one.values["learning_rate"] for one in choice.candidates) for choice in found.values()}) == 1
    for name, choice in found.items():
        loss, direction = name.split("+")
        config = choice.base.model_dump(by_alias=True)
        assert config["direction"]["kind"] == ("orthogonal" if direction in ("global", "layer") else direction)
        assert config["direction"].get("scope", direction) == direction
        assert config.get("pass", config.get("lead")) == ("retain" if choice.method == "oeu" else "paired")
        assert config.get("forget_loss", loss) == loss
        assert config.get("labels", loss) == loss
        assert not config.get("reweight", False)


def test_the_masks_are_tried_on_four_methods_and_all_but_the_certified_change_nothing_else():
    found = choices(rows("masks"))
    kinds = ("saliency", "hard", "soft", "optimal", "certified")
    four = ("neg_grad_plus", "random_label", "qmul", "oeu")
    assert list(found) == [name for method in four for name in (method, *(f"{method}+{kind}" for kind in kinds))]
    for name, choice in found.items():
        method, _, kind = name.partition("+")
        mine, plain = choice.base.model_dump(by_alias=True), found[method].base.model_dump(by_alias=True)
        assert choice.method == method
        assert (mine.pop("mask") or {}).get("kind", "") == kind
        assert plain.pop("mask") is None
        assert mine.get("pass", "paired") == "paired"
        assert len(choice.candidates) == 3
        if kind == "certified":
            # Its promise is for steps without momentum, and small batches certify next to nothing.
            assert (mine["batch_size"], mine["momentum"]) == (256, 0.0)
            continue
        assert mine == plain
        assert [c.values for c in choice.candidates] == [c.values for c in found[method].candidates]


def test_the_bits_have_an_arm_for_each_quantizer_and_width_and_one_of_floats():
    contents = resolved("bits", read("bits"), BASE)
    expected = {f"{kind}-{bits}": (kind, bits) for kind in ("lsq", "pact", "dsq") for bits in (2, 3, 4, 8)}
    found = {arm: content["quantization"] for arm, content in contents.items()}
    assert found.pop("float")["quantizer"] == "none"
    assert {arm: (one["quantizer"], one["weight_bits"]) for arm, one in found.items()} == expected
    assert all(one["weight_bits"] == one["activation_bits"] for one in found.values())


@pytest.mark.parametrize("name", ["cifar100-qmul", "cifar100-qmul-small"])
def test_the_quantizers_of_qmul_differ_in_nothing_but_the_quantizer(name):
    contents = resolved(name, read(name), BASE)
    assert list(contents) == ["pact", "dsq", "lsq", "float"]
    kinds = {arm: content["quantization"].pop("quantizer") for arm, content in contents.items()}
    assert kinds == {"pact": "pact", "dsq": "dsq", "lsq": "lsq", "float": "none"}
    assert all(content == contents["pact"] for content in contents.values())
    assert contents["pact"]["training"]["epochs"] <= 60


@pytest.mark.parametrize("name", ["entanglement", "entanglement-digits"])
def test_the_variants_of_two_phase_differ_in_one_setting_of_the_second_phase(name):
    found = {
        row: choice.base.model_dump() for row, choice in choices(rows(name)).items() if choice.method == "two_phase"
    }
    plain = found.pop("two_phase")
    differing = {
        row: {key for key, value in one["phase2"].items() if value != plain["phase2"][key]}
        for row, one in found.items()
    }
    assert differing == {"two-phase-no-w2": {"alpha"}, "two-phase-paper-sign": {"forget_sign"}}
    assert all(one["phase1"] == plain["phase1"] for one in found.values())
    assert found["two-phase-no-w2"]["phase2"]["alpha"] == 0.0


def test_the_full_entanglement_study_has_all_images_and_the_rows_of_the_reduced_one():
    full, reduced = read("entanglement-full"), read("entanglement")
    assert "subset" not in full.params["data"]
    assert full.params["split"] == reduced.params["split"]
    assert set(full.params["unlearn"]) == {*reduced.params["unlearn"], "two-phase-published"}
    for arm in full.arm_names:
        found = {row: one.base.model_dump() for row, one in choices(rows("entanglement-full", arm)).items()}
        settings = methods()["two_phase"].config().model_dump()
        assert found["two-phase-published"] == settings
        assert found["two-phase-no-w2"]["phase2"] == {**found["two_phase"]["phase2"], "alpha": 0.0}


def test_an_oracle_chooses_beside_the_validation_images_for_the_published_gaps():
    found = choices(rows("cifar100-qmul", "pact"))
    assert found["qmul-oracle"].base == found["qmul"].base
    assert rows("cifar100-qmul", "pact")["qmul-oracle"]["oracle"] is True


def test_the_published_table_is_that_of_float_networks_and_of_methods_that_are_run():
    study = read("cifar10-sanity")
    assert study.params["quantization"]["quantizer"] == "none"
    assert set(study.reference.rows) == {"retrain", *study.params["unlearn"]}
    assert "2310.12508" in study.reference.source


def test_the_list_of_results_names_every_study_and_links_those_that_were_run():
    folder = ROOT / RESULTS
    text = (folder / "README.md").read_text()
    assert text == index(folder), "run `python -m studies index`"
    for name in names():
        line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        assert line.endswith(f"| [page]({name}.md) |" if (folder / f"{name}.md").exists() else "| not yet run |")


def test_every_result_belongs_to_a_study():
    files = {path.stem for path in (ROOT / RESULTS).iterdir() if path.suffix in (".json", ".md")} - {"README"}
    assert files <= set(names())
    for name in files:
        assert published(name, read(name), root=ROOT)


@pytest.mark.parametrize("path", sorted((ROOT / RESULTS).glob("*.json")), ids=lambda path: path.stem)
def test_every_page_is_what_its_study_and_its_numbers_give(path):
    name, study = path.stem, read(path.stem)
    evaluations = published(name, study, root=ROOT)
    text = page(name, study, evaluations, pictures(name, study, evaluations))
    assert path.with_suffix(".md").read_text() == text, "run `python -m studies render`"


def test_every_figure_is_shown_by_a_page_and_every_page_has_its_figures():
    folder = ROOT / RESULTS
    shown = set()
    for path in folder.glob("*.md"):
        shown |= set(re.findall(r"\]\(([^)/]+\.svg)\)", path.read_text()))
    assert shown == {path.name for path in folder.glob("*.svg")}


def test_studies_say_what_they_are_in_a_title_and_a_question():
    for name in names():
        study = read(name)
        assert study.title[0].isupper()
        assert "?" in study.question, name
