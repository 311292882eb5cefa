"""A whole experiment as an evaluation: six methods, three seeds, a 4-bit network with 8-bit edges."""

import numpy as np
import pytest

from qunlearn.evaluation import assemble

RETRAIN = {0: (96.9, 99.9, 97.2, 6.2), 1: (97.7, 100.0, 97.8, 5.4), 2: (96.1, 99.9, 97.5, 7.0)}
SHIFTS = {
    "original": (3.0, 0.05, 0.2, -5.1),
    "fine_tune": (2.3, 0.02, -0.1, -3.6),
    "gradient_ascent": (-42.0, -31.0, -30.5, 47.0),
    "neg_grad_plus": (-4.2, -0.6, -1.4, 8.1),
    "random_label": (-1.4, -0.5, -0.9, 12.6),
    "qmul": (0.8, -0.2, -0.5, -1.9),
    "oeu": (0.1, -0.04, -0.1, 0.3),
}
SECONDS = {"original": 31.0, "retrain": 29.4, "fine_tune": 8.1, "gradient_ascent": 1.2, "oeu": 11.8}
SIZES = {"forget_samples": 129.0, "retain_samples": 1164.0, "validation_samples": 144.0, "test_samples": 360.0}


def make_cell(method, seed, values, generator):
    names = ("forget_accuracy", "retain_accuracy", "test_accuracy", "mia_confidence")
    metrics = dict(zip(names, (float(np.clip(v, 0, 100)) for v in values), strict=True)) | SIZES
    known = 0.5 + (values[0] - 97) / 60
    metrics |= {
        "mia_auc": float(np.clip(known + generator.normal(0, 0.01), 0, 1)),
        "mia_auc_margin": float(np.clip(known + generator.normal(0, 0.01), 0, 1)),
        "mia_tpr_at_1fpr": float(np.clip(0.01 + generator.normal(0.01, 0.005), 0, 1)),
        "forget_entropy": float(np.clip(0.05 + (100 - values[0]) / 120, 0, 1)),
        "forget_max_probability": float(np.clip(0.97 - (100 - values[0]) / 150, 0, 1)),
        "forget_concentration": 0.02 + abs(float(generator.normal(0, 0.01))),
        "code_flips": {"original": 0.0, "retrain": 0.71}.get(method, 0.02 + 0.05 * float(generator.random())),
        "scale_drift": {"original": 0.0, "retrain": 0.22}.get(method, 0.01 * float(generator.random())),
        "batchnorm_drift": {"original": 0.0, "retrain": 0.31}.get(method, 0.02 * float(generator.random())),
    }
    passes = {"retrain": (0.0, 30.0), "original": (30.0, 30.0), "gradient_ascent": (5.0, 0.0)}.get(method, (10.0, 10.0))
    stats = {
        "seconds": SECONDS.get(method, 10.0) + float(generator.normal(0, 0.2)),
        "forget_passes": passes[0],
        "retain_passes": passes[1],
        "concurrent": False,
        "code_flips_by_layer": {
            layer["name"]: float(np.clip(metrics["code_flips"] * generator.uniform(0.4, 1.6), 0, 1))
            for layer in make_audit()
        },
    }
    return {
        "method": method, "seed": seed, "scenario": "random", "metrics": metrics, "stats": stats,
        "run_id": f"{method}{seed}",
    }  # fmt: skip


def make_audit():
    names = ["conv1", *(f"layer{i}.0.conv{j}" for i in (1, 2, 3) for j in (1, 2)), "layer2.0.downsample.0", "fc"]
    return [
        {
            "name": name,
            "kind": "Linear" if name == "fc" else "Conv2d",
            "weight_bits": 8 if name in ("conv1", "fc") else 4,
            "activation_bits": 8 if name in ("conv1", "fc") else 4,
            "weight_quantizer": "lsq",
            "activation_quantizer": "lsq",
            "per_channel": False,
            "edge": name in ("conv1", "fc"),
            "signed": name == "conv1",
        }
        for name in names
    ]


def make_context(seeds):
    return {
        "params": {
            "model": {"name": "resnet8", "width": 16},
            "quantization": {
                "quantizer": "lsq", "weight_bits": 4, "activation_bits": 4, "edge_bits": 8, "per_channel": False,
            },
            "training": {"epochs": 30, "batch_size": 64, "learning_rate": 0.05, "schedule": "one_cycle"},
        },
        "seeds": list(seeds),
        "data": {
            "source": "digits (scikit-learn)", "licence": "CC BY 4.0", "shape": [1, 8, 8], "classes": 10,
            "counts": {"train/forget": 129, "train/retain": 1164, "validation": 144, "test": 360},
            "scenario": {"kind": "random", "fraction": 0.1, "count": None},
            "erased_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        },
        "audit": make_audit(),
        "versions": {"torch": "2.15.0", "brevitas": "0.13.4", "python": "3.11.2"},
        "methods": {
            "oeu": {"title": "Orthogonal entropy unlearning", "needs": ["retain", "forget"]},
            "qmul": {"title": "Q-MUL", "needs": ["retain", "forget"]},
        },
        "hardware": "CPU, 2 threads, x86_64",
    }  # fmt: skip


def make_evaluation(seeds=(0, 1, 2), methods=tuple(SHIFTS)):
    generator = np.random.default_rng(7)
    cells = [make_cell("retrain", seed, RETRAIN[seed], generator) for seed in seeds]
    for method in methods:
        for seed in seeds:
            noise = generator.normal(0, 0.35, 4) * (8 if method == "gradient_ascent" else 1)
            values = np.array(RETRAIN[seed]) + SHIFTS[method] + noise
            cells.append(make_cell(method, seed, values, generator))
    return assemble(cells, make_context(seeds))


def make_steps(seeds=(0, 1, 2), count=210):
    steps = {}
    for seed in seeds:
        generator = np.random.default_rng(seed)
        cosine = -0.5 * np.exp(-np.arange(count) / 60) + 0.08 * generator.normal(size=count)
        steps["oeu", seed] = {
            "step": np.arange(count), "epoch": np.arange(count) // 21, "cosine_before": cosine,
            "removed_fraction": np.abs(cosine),
        }  # fmt: skip
    return steps


@pytest.fixture(scope="session")
def evaluation():
    return make_evaluation()


@pytest.fixture(scope="session")
def one_seed():
    return make_evaluation(seeds=(1,))


@pytest.fixture(scope="session")
def steps():
    return make_steps()
