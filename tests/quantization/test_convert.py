"""Conversion of whole networks: what changes, what must not, and that the results can be stored and copied."""

import copy

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from qunlearn.config import ModelConfig, QuantizationConfig
from qunlearn.models import build
from qunlearn.quantization import NotInitialisedError, audit, bypass, departures, quantize
from qunlearn.quantization.convert import AbsorbedReLU

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, gpu])]
QUANTIZERS = ["lsq", "pact", "dsq", "brevitas"]
OURS = ["lsq", "pact", "dsq"]


def resnet8(seed=0):
    return build(ModelConfig(name="resnet8", width=4), classes=5, channels=1, image_size=8, seed=seed)


def chain():
    layers = []
    for a, b in ((1, 4), (4, 4), (4, 4)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def images(count=6, seed=1):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def trained(quantizer="lsq", **options):
    """A small network after two training steps, so that every scale has started and moved."""
    model = quantize(resnet8(), QuantizationConfig(quantizer=quantizer, **options)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for seed in (1, 2):
        optimizer.zero_grad()
        F.cross_entropy(model(images(seed=seed)), torch.arange(6) % 5).backward()
        optimizer.step()
    return model.eval()


def logits(model):
    with torch.no_grad():
        return model(images(seed=9))


CLASSIFIERS = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=5),
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=5, width_mult=0.25),
    "mobilenet_v3_small": lambda: torchvision.models.mobilenet_v3_small(num_classes=5),
    "squeezenet1_1": lambda: torchvision.models.squeezenet1_1(num_classes=5),
    "densenet": lambda: torchvision.models.DenseNet(4, block_config=(2, 2), num_init_features=8, num_classes=5),
    "vgg11": lambda: nn.Sequential(torchvision.models.vgg11(num_classes=5).features, nn.Flatten(), nn.Linear(512, 5)),
    "shufflenet": lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=5),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_torchvision_classifiers_convert_train_and_leave_the_original_alone(name):
    torch.manual_seed(0)
    model = CLASSIFIERS[name]()
    before = copy.deepcopy(model.state_dict())
    generator = torch.random.get_rng_state()
    quantized = quantize(model, QuantizationConfig(quantizer="lsq"))
    assert torch.equal(generator, torch.random.get_rng_state())
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert set(before) <= set(quantized.state_dict())
    assert departures(quantized, QuantizationConfig(quantizer="lsq")) == []
    out = quantized.train()(torch.randn(2, 3, 32, 32))
    out.square().mean().backward()
    assert torch.isfinite(out).all()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in quantized.parameters())


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("name", ["resnet8", "resnet20", "resnet18", "mobilenet_v2"])
def test_networks_by_name_convert_for_every_quantizer_and_stay_as_they_are(name, quantizer):
    model = build(ModelConfig(name=name, width=4), classes=5, channels=1, image_size=8, seed=0)
    before = copy.deepcopy(model)
    config = QuantizationConfig(quantizer=quantizer, weight_bits=3, activation_bits=5)
    quantized = quantize(model, config)
    assert departures(quantized, config) == []
    states = before.state_dict(), model.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0] | states[1])
    assert [type(m) for m in before.modules()] == [type(m) for m in model.modules()]
    pairs = zip(model.named_parameters(), before.named_parameters(), strict=True)
    assert all(a[0] == b[0] and a[1].data_ptr() != b[1].data_ptr() for a, b in pairs)
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in quantized.parameters()}
    assert not shared


def test_none_is_a_plain_copy():
    model = resnet8()
    result = quantize(model, QuantizationConfig(quantizer="none"))
    assert result is not model
    assert torch.equal(logits(model.eval()), logits(result.eval()))
    assert {(row.weight_bits, row.activation_bits) for row in audit(result)} == {(32, 32)}


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_deepcopy_computes_the_same_and_shares_nothing(quantizer, per_channel):
    model = trained(quantizer, per_channel=per_channel)
    copied = copy.deepcopy(model)
    assert torch.equal(logits(model), logits(copied))
    assert copied.state_dict().keys() == model.state_dict().keys()
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1.0)
    assert torch.equal(logits(model), logits(trained(quantizer, per_channel=per_channel)))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_state_dict_goes_through_safetensors_and_back_exactly(quantizer, per_channel):
    model = trained(quantizer, per_channel=per_channel)
    state = model.state_dict()
    assert len({value.data_ptr() for value in state.values() if value.numel()}) == len(state)
    assert all(value.is_contiguous() for value in state.values())
    restored = safetensors.torch.load(safetensors.torch.save(state))
    fresh = quantize(resnet8(seed=5), QuantizationConfig(quantizer=quantizer, per_channel=per_channel))
    assert fresh.load_state_dict(restored, strict=True).missing_keys == []
    assert torch.equal(logits(fresh.eval()), logits(model))
    again = fresh.state_dict()
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)


@pytest.mark.parametrize("quantizer", OURS)
def test_loading_keeps_the_parameters_an_optimizer_already_holds(quantizer):
    model = trained(quantizer)
    before = {name: id(p) for name, p in model.named_parameters()}
    model.load_state_dict(trained(quantizer).state_dict())
    assert {name: id(p) for name, p in model.named_parameters()} == before


@pytest.mark.parametrize("quantizer", OURS)
def test_evaluation_before_any_training_says_what_to_do(quantizer):
    model = quantize(resnet8(), QuantizationConfig(quantizer=quantizer)).eval()
    with pytest.raises(NotInitialisedError, match="training mode, or load"):
        model(images())


@pytest.mark.parametrize("quantizer", OURS)
def test_channels_last_gives_the_same_result_as_contiguous(quantizer):
    model = trained(quantizer)
    other = copy.deepcopy(model).to(memory_format=torch.channels_last)
    labels = torch.arange(6) % 5
    grads = []
    for network, batch in ((model, images()), (other, images().to(memory_format=torch.channels_last))):
        network.zero_grad()
        F.cross_entropy(network(batch), labels).backward()
        grads.append([p.grad for p in network.parameters()])
    torch.testing.assert_close(logits(other), logits(model), rtol=1e-4, atol=1e-5)
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("quantizer", OURS)
def test_bf16_autocast_trains_with_float32_scales(quantizer, device):
    model = quantize(resnet8(), QuantizationConfig(quantizer=quantizer)).to(device).train()
    for _ in range(2):
        with torch.autocast(device, torch.bfloat16):
            loss = F.cross_entropy(model(images().to(device)).float(), (torch.arange(6) % 5).to(device))
        loss.backward()
    assert torch.isfinite(loss)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    reference = quantize(resnet8(), QuantizationConfig(quantizer=quantizer)).to(device).train()
    full = F.cross_entropy(reference(images().to(device)), (torch.arange(6) % 5).to(device))
    assert loss.item() == pytest.approx(full.item(), rel=0.1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("quantizer", ["lsq", "pact"])
def test_a_relu_in_front_of_a_quantizer_is_taken_over_without_changing_a_bit(quantizer, device, monkeypatch):
    torch.manual_seed(0)
    model = chain()
    config = QuantizationConfig(quantizer=quantizer, edge_bits=8)
    fused = quantize(model, config).to(device)
    # The pooled last ReLU stays; the two between convolutions go.
    assert [type(fused[i]) for i in (2, 5, 8)] == [AbsorbedReLU, AbsorbedReLU, nn.ReLU]
    monkeypatch.setattr("qunlearn.quantization.convert._absorb_relus", lambda *_: None)
    plain = quantize(model, config).to(device)
    assert [type(plain[i]) for i in (2, 5, 8)] == [nn.ReLU] * 3
    grads, outs = [], []
    for network in (fused, plain):
        for training in (True, False):
            out = network.train(training)(images().to(device))
        outs.append(out)
        F.cross_entropy(out, torch.arange(6, device=device) % 3).backward()
        grads.append([p.grad for p in network.parameters()])
    if quantizer == "lsq":
        for (name, a), b in zip(fused.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a, b, msg=name)
    torch.testing.assert_close(outs[0], outs[1])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("edge_bits", [8, 32])
def test_a_relu_that_feeds_a_float_layer_or_a_sum_stays(edge_bits):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(1, 2), nn.ReLU(), nn.Linear(6, 3))
    result = quantize(model, QuantizationConfig(edge_bits=edge_bits))
    assert isinstance(result[1], nn.ReLU)
    assert isinstance(result[3], AbsorbedReLU if edge_bits == 8 else nn.ReLU)
    residual = quantize(resnet8(), QuantizationConfig())
    assert isinstance(residual.stage1[0].relu1, AbsorbedReLU)
    assert isinstance(residual.stage1[0].relu2, nn.ReLU)
    assert isinstance(residual.relu, nn.ReLU)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_bypass_is_the_float_network_and_ends(quantizer):
    float_model = resnet8().train()
    model = quantize(float_model, QuantizationConfig(quantizer=quantizer)).train()
    model(images())
    float_model(images())
    model.eval(), float_model.eval()
    quantized = logits(model)
    with bypass(model):
        torch.testing.assert_close(logits(model.train()), logits(float_model.train()), rtol=1e-5, atol=1e-6)
        assert {(row.weight_bits, row.activation_bits) for row in audit(model)} == {(32, 32)}
    assert {row.weight_bits for row in audit(model)} == {4, 8}
    assert not torch.allclose(quantized, logits(float_model.eval()), atol=1e-3)


def test_bypass_ends_even_when_the_body_fails():
    model = trained()
    expected = logits(model)
    with pytest.raises(KeyError), bypass(model):
        raise KeyError
    assert torch.equal(logits(model), expected)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(x) if x.sum() > 0 else x


def test_a_network_that_cannot_be_traced_or_has_nothing_to_quantize_is_refused():
    with pytest.raises(ValueError, match="cannot be traced"):
        quantize(Branching(), QuantizationConfig())
    with pytest.raises(ValueError, match="no Conv2d or Linear"):
        quantize(nn.Sequential(nn.ReLU()), QuantizationConfig())


def test_frozen_parameters_stay_frozen_and_modes_are_kept():
    model = resnet8()
    model.conv.weight.requires_grad_(False)
    model.bn.eval()
    result = quantize(model, QuantizationConfig())
    assert not result.conv.weight.requires_grad
    assert not result.bn.training
    assert result.stage1[0].conv1.training


def test_brevitas_exporter_gives_the_same_outputs_for_lsq(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    export = pytest.importorskip("brevitas.export")
    model, path = trained(), str(tmp_path / "model.onnx")
    export.export_onnx_qcdq(copy.deepcopy(model), args=images(seed=9), export_path=path, dynamo=False)
    session = onnxruntime.InferenceSession(path)
    found = session.run(None, {session.get_inputs()[0].name: images(seed=9).numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(found), logits(model), rtol=1e-4, atol=1e-5)
