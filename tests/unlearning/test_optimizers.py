import pytest
import torch
from torch.nn import functional as F

from qunlearn.quantization import parameter_groups
from qunlearn.unlearning.directions import Orthogonal, Update
from qunlearn.unlearning.layout import Layout
from qunlearn.unlearning.optimizers import SGD, Adam, StrictSGD, decay_of
from qunlearn.unlearning.projection import project
from qunlearn.unlearning.units import lsq_units


def loss_of(model, pool, indices):
    inputs, labels = pool.batch(indices)
    return F.cross_entropy(model(inputs), labels)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_path_is_that_of_torchs_optimizer_whatever_the_units(problem, original, make_network, name):
    reference = make_network(seed=1)
    reference.load_state_dict(original.state_dict())
    reference.eval()
    groups = parameter_groups(reference, 0.01)
    if name == "sgd":
        theirs = torch.optim.SGD(groups, lr=0.02, momentum=0.9)
    else:
        theirs = torch.optim.Adam(groups, lr=0.002, betas=(0.9, 0.999))
    layout = Layout.of(original, units=lsq_units(original, torch.zeros(1, 1, 8, 8)))
    ours = (SGD if name == "sgd" else Adam)(layout, decay=decay_of(original, layout, 0.01), momentum=0.9)
    for step in range(4):
        indices = problem.retain[10 * step : 10 * step + 10]
        gradient = layout.gradient(loss_of(original, problem.pool, indices))
        layout.move(ours.displacement(Update(None, gradient), 0.02 if name == "sgd" else 0.002)[0])
        theirs.zero_grad()
        loss_of(reference, problem.pool, indices).backward()
        theirs.step()
    for (where, a), b in zip(original.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-6, msg=where)


def test_quantizer_scales_do_not_decay(original):
    layout = Layout.of(original)
    decay = layout.views(decay_of(original, layout, 0.1))
    for rate, parameter in zip(decay, layout.parameters, strict=True):
        assert float(rate.max()) == pytest.approx(0.0 if parameter.numel() == 1 else 0.1)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_strict_keeps_the_forget_displacement_orthogonal_which_plain_momentum_does_not(original, scope):
    layout = Layout.of(original)
    decay = decay_of(original, layout, 0.01)
    direction, plain_direction = Orthogonal(scope=scope), Orthogonal(scope=scope)
    strict = StrictSGD(layout, decay=decay, momentum=0.9, project=direction.project)
    retain_alone, plain = (SGD(layout, decay=decay, momentum=0.9) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    cosines = []
    for _ in range(4):
        g_f, g_r = torch.randn(2, layout.size, generator=generator)
        update = direction(g_f, g_r, layout.blocks)
        displacement, statistics = strict.displacement(update, 0.1)
        retain_part = retain_alone.displacement(Update(None, update.retain), 0.1)[0]
        forget_part = (displacement - retain_part).double()
        cosines.append(abs(float(forget_part @ g_r.double() / forget_part.norm() / g_r.double().norm())))
        assert float(statistics["momentum_residual"]) < 1e-6
        without = plain.displacement(Update(plain_direction(g_f, g_r, layout.blocks).forget, None), 0.1)[0].double()
    assert max(cosines) < 1e-6
    leaked = without + 0.1 * 0.01 * layout.values()
    assert abs(float(leaked @ g_r.double() / leaked.norm() / g_r.double().norm())) > 1e-4


class OneLayer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2, 1, bias=False)

    def forward(self, x):
        return self.fc(x)


def test_adams_preconditioner_is_settled_from_the_raw_gradients_and_the_same_step_applies_it():
    adam = Adam(Layout.of(OneLayer()), decay=torch.zeros(2), momentum=0.9)
    retain = torch.tensor([3.0, -8.0])
    metric = adam.precondition(torch.tensor([4.0, 6.0]), retain)
    assert metric.tolist() == pytest.approx([1 / 5, 1 / 10])
    displacement, _ = adam.displacement(Update(torch.tensor([1.0, -2.0]), retain, metric=metric), 0.1)
    assert displacement.tolist() == pytest.approx([-0.1 * 4 / 5, 0.1 * 10 / 10])
    adam.precondition(torch.zeros(2), retain)
    assert adam._steps == 2


def test_sgd_has_no_preconditioner(original):
    layout = Layout.of(original)
    sgd = SGD(layout, decay=torch.zeros(layout.size), momentum=0.0)
    assert sgd.precondition(torch.ones(layout.size), torch.ones(layout.size)) is None


def test_a_first_step_of_adam_stays_near_the_learning_rate_where_the_gradients_cancel(original):
    """The square of the raw sum as second moment moves single weights by hundreds of learning rates here."""
    layout = Layout.of(original)
    generator = torch.Generator().manual_seed(0)
    g_f = torch.randn(layout.size, generator=generator)
    g_r = torch.randn(layout.size, generator=generator) - 0.5 * g_f
    g_f[:10] = -g_r[:10]
    adam = Adam(layout, decay=torch.zeros(layout.size), momentum=0.9)
    update = Orthogonal()(g_f, g_r, layout.blocks, precondition=adam.precondition)
    assert adam.displacement(update, 0.1)[0].abs().max() < 3 * 0.1
    raw = 1.0 / ((g_f + g_r).abs() + 1e-8)
    circular = project(g_f, g_r[None], layout.blocks, metric=raw).vector
    assert (raw * (g_r + circular)).abs().max() > 100


def test_an_empty_update_is_refused(original):
    layout = Layout.of(original)
    with pytest.raises(ValueError, match="the update is empty"):
        SGD(layout, decay=torch.zeros(layout.size), momentum=0.0).displacement(Update(None, None), 0.1)
