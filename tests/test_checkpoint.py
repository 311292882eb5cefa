"""Checkpoints: exact round trip, atomic writing, one clear error for every damaged one."""

import copy
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import safetensors.torch
import torch
from torch import nn

from qunlearn.checkpoint import Blueprint, CheckpointError, digest_of_model, load, save
from qunlearn.config import ModelConfig, QuantizationConfig, TrainingConfig
from qunlearn.data.batches import ImagePool, Transform
from qunlearn.training import train

IDS = ("train-000001-0123456789ab", "train-000002-ba9876543210")
OURS = ["none", "lsq", "pact", "dsq"]
QUANTIZERS = [*OURS, "brevitas"]


def blueprint_of(quantizer="lsq", *, name="resnet8", width=4, classes=3, per_channel=False):
    quantization = QuantizationConfig(quantizer=quantizer, per_channel=per_channel)
    return Blueprint(ModelConfig(name=name, width=width), quantization, classes=classes, channels=1, image_size=8)


def trained(blueprint, *, seed=0, device="cpu"):
    """A model whose scales, running statistics and weights have all moved."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (24, 1, 8, 8), generator=generator, dtype=torch.uint8)
    pool = ImagePool(images.to(device), (torch.arange(24) % blueprint.classes).to(device), Transform((0.5,), (0.3,)), 3)
    model = blueprint.build(seed)
    recipe = TrainingConfig(epochs=2, batch_size=8, learning_rate=0.05, crop_padding=0, flip=False)
    train(model, pool, torch.arange(24), recipe, seed=seed)
    return model


def logits(model, *, device="cpu"):
    inputs = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1)).to(device)
    with torch.no_grad():
        return model.eval()(inputs)


@pytest.fixture
def saved(tmp_path):
    blueprint = blueprint_of("none")
    model = blueprint.build(seed=0)
    digest = save(model, tmp_path / "model", blueprint=blueprint, trained_ids=IDS, extra={"stage": "pretrain"})
    return tmp_path / "model", model, digest


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_round_trip_is_exact(tmp_path, quantizer, per_channel):
    blueprint = blueprint_of(quantizer, per_channel=per_channel)
    model = trained(blueprint)
    digest = save(model, tmp_path / "model", blueprint=blueprint, trained_ids=IDS, extra={"seed": 0})
    loaded = load(tmp_path / "model", digest=digest)
    assert torch.equal(logits(loaded.model), logits(model))
    assert (loaded.blueprint, loaded.trained_ids, loaded.digest, loaded.extra) == (blueprint, IDS, digest, {"seed": 0})
    assert digest_of_model(loaded.model) == digest


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_untrained_model_round_trips_and_then_trains_like_the_original(tmp_path, quantizer):
    blueprint = blueprint_of(quantizer)
    model = blueprint.build(seed=3)
    save(model, tmp_path / "model", blueprint=blueprint, trained_ids=[])
    loaded = load(tmp_path / "model").model
    for each in (model, loaded):
        train_again(each)
    assert digest_of_model(loaded) == digest_of_model(model)


def test_copied_stock_models_and_loaded_stock_models_go_on_training_alike(tmp_path):
    blueprint = blueprint_of("brevitas")
    model = trained(blueprint)
    save(model, tmp_path / "model", blueprint=blueprint, trained_ids=IDS)
    for pair in ([copy.deepcopy(model), model], [load(tmp_path / "model").model for _ in range(2)]):
        for each in pair:
            train_again(each)
        assert digest_of_model(pair[0]) == digest_of_model(pair[1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_model_trained_on_the_gpu_round_trips(tmp_path, quantizer):
    blueprint = blueprint_of(quantizer)
    model = trained(blueprint, device="cuda")
    save(model, tmp_path / "model", blueprint=blueprint, trained_ids=IDS)
    loaded = load(tmp_path / "model").model.to("cuda")
    assert torch.equal(logits(loaded, device="cuda"), logits(model, device="cuda"))


def train_again(model):
    images = torch.arange(8 * 64).remainder(251).to(torch.uint8).reshape(8, 1, 8, 8)
    pool = ImagePool(images, torch.arange(8) % 3, Transform((0.5,), (0.3,)), 3)
    recipe = TrainingConfig(epochs=1, batch_size=4, learning_rate=0.05, crop_padding=0, flip=False)
    train(model, pool, torch.arange(8), recipe, seed=0)


@pytest.mark.parametrize("quantizer", OURS)
def test_loaded_and_copied_models_go_on_training_alike(tmp_path, quantizer):
    blueprint = blueprint_of(quantizer)
    model = trained(blueprint)
    save(model, tmp_path / "model", blueprint=blueprint, trained_ids=IDS)
    models = [load(tmp_path / "model").model, copy.deepcopy(model)]
    for each in models:
        train_again(each)
    assert digest_of_model(models[0]) == digest_of_model(models[1]) != digest_of_model(model)


def test_digest_is_the_sha256_of_the_weights_file(saved):
    folder, model, digest = saved
    assert digest == hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest() == digest_of_model(model)


def test_digest_does_not_depend_on_the_memory_format(saved):
    _, model, digest = saved
    assert digest_of_model(copy.deepcopy(model).to(memory_format=torch.channels_last)) == digest


def test_folder_holds_the_four_files_and_no_pickle(saved):
    folder, *_ = saved
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "quantization.json",
        "trained_ids.txt",
        "weights.safetensors",
    ]
    assert (folder / "trained_ids.txt").read_text().splitlines() == list(IDS)


def test_quantization_record_names_bits_and_scales_in_force(tmp_path):
    blueprint = blueprint_of("lsq")
    save(trained(blueprint), tmp_path / "model", blueprint=blueprint, trained_ids=IDS)
    record = json.loads((tmp_path / "model" / "quantization.json").read_text())
    bits = [(layer["weight_bits"], layer["activation_bits"]) for layer in record["layers"]]
    assert bits == [(8, 8)] + [(4, 4)] * 6 + [(8, 8)]
    assert record["scales"]
    assert all(value > 0.0 for values in record["scales"].values() for value in values)


def test_loaded_model_is_in_eval_mode(saved):
    assert not load(saved[0]).model.training


def test_blueprint_builds_the_same_weights_for_a_seed():
    blueprint = blueprint_of()
    assert digest_of_model(blueprint.build(5)) == digest_of_model(blueprint.build(5))
    assert digest_of_model(blueprint.build(5)) != digest_of_model(blueprint.build(6))


def test_building_in_many_threads_equals_building_one_by_one_and_leaves_the_global_generator():
    blueprint = blueprint_of()
    expected = [digest_of_model(blueprint.build(seed)) for seed in range(4)]
    before = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda seed: digest_of_model(blueprint.build(seed)), range(4))) == expected
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_replaces_the_older_checkpoint(saved):
    folder, *_ = saved
    blueprint = blueprint_of("none", classes=4)
    digest = save(blueprint.build(seed=1), folder, blueprint=blueprint, trained_ids=IDS[:1])
    loaded = load(folder, digest=digest)
    assert (loaded.blueprint.classes, loaded.trained_ids) == (4, IDS[:1])
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def disk_full(*_):
    raise OSError(28, "No space left on device")


def test_failing_save_leaves_the_older_checkpoint_as_it_was(saved, monkeypatch):
    folder, model, digest = saved
    blueprint = blueprint_of("none")
    other = blueprint.build(seed=1)
    monkeypatch.setattr("pathlib.Path.write_bytes", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save(other, folder, blueprint=blueprint, trained_ids=IDS)
    assert torch.equal(logits(load(folder, digest=digest).model), logits(model))
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"trained_ids": ["two\nlines"]}, ValueError, r"'two\\nlines' is not a sample id"),
        ({"trained_ids": [""]}, ValueError, "'' is not a sample id"),
        ({"extra": {"loss": float("nan")}}, ValueError, "not JSON compliant"),
        ({"extra": {"weights": object()}}, TypeError, "not JSON serializable"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_refused_and_writes_nothing(tmp_path, arguments, kind, message):
    blueprint = blueprint_of("none")
    with pytest.raises(kind, match=message):
        save(blueprint.build(0), tmp_path / "model", **({"blueprint": blueprint, "trained_ids": IDS} | arguments))
    assert not (tmp_path / "model").exists()


def test_state_that_is_no_tensor_is_refused(tmp_path):
    class Noted(nn.Linear):
        def get_extra_state(self):
            return {"note": "text"}

        def set_extra_state(self, state):
            pass

    with pytest.raises(TypeError, match="_extra_state in the state dict is dict; a checkpoint holds tensors only"):
        save(Noted(2, 2), tmp_path / "model", blueprint=blueprint_of("none"), trained_ids=IDS)


# --- damaged checkpoints ---------------------------------------------------------------------------------------------


def change_config(folder, change):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def change_weights(folder, change):
    """Weights of a wrong content under right digests: what a tampered or mixed-up store holds."""
    path = folder / "weights.safetensors"
    tensors = change(safetensors.torch.load(path.read_bytes()))
    path.write_bytes(safetensors.torch.save(tensors))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    change_config(folder, lambda content: content["sha256"].update({path.name: digest}))


def truncated(name):
    def damage(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def without(name):
    return lambda folder: (folder / name).unlink()


def weights(change):
    return lambda folder: change_weights(folder, change)


def config(change):
    return lambda folder: change_config(folder, change)


def not_safetensors(folder):
    (folder / "weights.safetensors").write_bytes(b"not tensors")
    digest = hashlib.sha256(b"not tensors").hexdigest()
    change_config(folder, lambda content: content["sha256"].update({"weights.safetensors": digest}))


def other_ids(folder):
    (folder / "trained_ids.txt").write_text("train-000003-000000000000\n")


def empty_folder(folder):
    for path in folder.iterdir():
        path.unlink()


OTHER = "weights of another network than"
DAMAGES = {
    "weights truncated": (truncated("weights.safetensors"), "weights.safetensors: truncated or changed"),
    "config truncated": (truncated("config.json"), "config.json: truncated or not JSON"),
    "quantization truncated": (truncated("quantization.json"), "quantization.json: truncated or changed"),
    "ids truncated": (truncated("trained_ids.txt"), "trained_ids.txt: truncated or changed"),
    "ids of another model": (other_ids, "trained_ids.txt: truncated or changed"),
    "weights missing": (without("weights.safetensors"), "weights.safetensors: No such file"),
    "config missing": (without("config.json"), "config.json: No such file"),
    "quantization missing": (without("quantization.json"), "quantization.json: No such file"),
    "ids missing": (without("trained_ids.txt"), "trained_ids.txt: No such file"),
    "all bytes purged": (empty_folder, "config.json: No such file .*incomplete or not there"),
    "not safetensors": (not_safetensors, "weights.safetensors: not a safetensors file"),
    "config a list": (lambda folder: (folder / "config.json").write_text("[]"), "must hold an object, not list"),
    "config not text": (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"), "truncated or not JSON"),
    "unknown format": (config(lambda c: c.update(format=2)), "format = 2"),
    "entry missing": (config(lambda c: c.pop("blueprint")), "blueprint: missing"),
    "digest entry missing": (config(lambda c: c["sha256"].pop("trained_ids.txt")), "sha256: missing for trained_ids"),
    "unknown entry": (config(lambda c: c.update(pickle="x")), "pickle = 'x': unknown key"),
    "unknown entry in the blueprint": (config(lambda c: c["blueprint"].update(depth=1)), "blueprint.depth = 1"),
    "impossible bits": (config(lambda c: c["blueprint"]["quantization"].update(weight_bits=1)), "weight_bits = 1"),
    "unknown net": (config(lambda c: c["blueprint"]["model"].update(name="resnet9")), "'resnet9': no such network"),
    "another net": (config(lambda c: c["blueprint"]["model"].update(name="resnet20")), f"{OTHER} resnet20: stage1.1"),
    "another width": (config(lambda c: c["blueprint"]["model"].update(width=8)), f"{OTHER} resnet8: .*size mismatch"),
    "other classes": (config(lambda c: c["blueprint"].update(classes=5)), f"{OTHER} resnet8: .*fc"),
    "weight missing": (
        weights(lambda t: {k: v for k, v in t.items() if k != "fc.bias"}),
        f"{OTHER} resnet8: fc.bias is missing",
    ),
    "weight extra": (
        weights(lambda t: t | {"fc2.bias": torch.zeros(1)}),
        f"{OTHER} resnet8: fc2.bias has no place in it",
    ),
    "wrong shape": (weights(lambda t: t | {"fc.bias": torch.zeros(7)}), f"{OTHER} resnet8: .*fc.bias"),
    "wrong type": (
        weights(lambda t: t | {"fc.bias": t["fc.bias"].half()}),
        r"fc.bias is float16 \[3\], it needs float32 \[3\]",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_one_clear_line(saved, damage):
    folder, *_ = saved
    break_it, message = DAMAGES[damage]
    break_it(folder)
    with pytest.raises(CheckpointError, match=message) as error:
        load(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("quantizer", QUANTIZERS[1:])
def test_weights_of_a_differently_quantized_network_are_refused(tmp_path, quantizer):
    other = blueprint_of("none")
    save(other.build(0), tmp_path / "model", blueprint=other, trained_ids=IDS)
    change_config(tmp_path / "model", lambda content: content["blueprint"]["quantization"].update(quantizer=quantizer))
    with pytest.raises(CheckpointError, match=r"weights of another network|not those of the network") as error:
        load(tmp_path / "model")
    assert "\n" not in str(error.value)


def test_another_digest_than_asked_for_is_refused(saved):
    folder, _, digest = saved
    with pytest.raises(CheckpointError, match=f"another checkpoint than asked for: its digest is {digest}, not 0000"):
        load(folder, digest="0" * 64)


def test_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json: No such file"):
        load(tmp_path / "nowhere")
