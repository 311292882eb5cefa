"""A whole experiment as an evaluation: six methods, three seeds, a 4-bit network with 8-bit edges; and larger ones."""

import zlib

import numpy as np
import pytest

from qunlearn.evaluation import assemble

RETRAIN = {0: (96.9, 99.9, 97.2, 6.2), 1: (97.7, 100.0, 97.8, 5.4), 2: (96.1, 99.9, 97.5, 7.0)}
"""seed -> forget, retain, test accuracy and MIA confidence of the retrained model, percent."""
SHIFTS = {
    "original": (3.0, 0.05, 0.2, -5.1),
    "fine_tune": (2.3, 0.02, -0.1, -3.6),
    "gradient_ascent": (-42.0, -31.0, -30.5, 47.0),
    "neg_grad_plus": (-4.2, -0.6, -1.4, 8.1),
    "random_label": (-1.4, -0.5, -0.9, 12.6),
    "qmul": (0.8, -0.2, -0.5, -1.9),
    "oeu": (0.1, -0.04, -0.1, 0.3),
}
"""method -> how far the four figures lie from the retrained model's."""
FURTHER = {
    "aligned_masks": (1.1, -0.1, -0.3, -1.2),
    "bad_teacher": (-6.3, -1.9, -2.2, 15.4),
    "boundary_expand": (-9.8, -2.4, -3.1, 19.0),
    "boundary_shrink": (-7.7, -3.0, -3.4, 14.1),
    "gdr_gma": (-0.9, -0.2, -0.4, 1.7),
    "influence": (1.9, -0.1, -0.2, -2.8),
    "l1_sparse": (1.2, -0.3, -0.4, -1.5),
    "pgu": (-0.6, -0.3, -0.2, 1.1),
    "salun": (-0.8, -0.4, -0.6, 9.3),
    "scrub": (0.7, -0.1, -0.2, -1.0),
    "ssd": (-3.1, -1.2, -1.6, 4.4),
    "two_phase": (0.4, -0.2, -0.3, -0.7),
}
SECONDS = {"original": 31.0, "retrain": 29.4, "fine_tune": 8.1, "gradient_ascent": 1.2, "oeu": 11.8}
SIZES = {"forget_samples": 129.0, "retain_samples": 1164.0, "validation_samples": 144.0, "test_samples": 360.0}
SUBSETS = ("forget", "retain", "test")
SELECTED = {"fine_tune": "validation", "random_label": "oracle", "oeu": "defaults"}
"""How the settings of a method were chosen; `given` for the others."""
CONFLICTS = ("oeu", "pgu", "two_phase")
"""Methods that recorded how their gradients conflict."""
EPOCHS = {"gradient_ascent": (1, 0), "random_label": (5, 0), "oeu": (4, 0), "two_phase": (2, 4)}
"""Method that recorded losses of its forget images -> epochs of its first and its second phase."""


def own_generator(method, seed):
    return np.random.default_rng([zlib.crc32(method.encode()), seed])


def make_cell(method, seed, values, generator, *, seeds=3, optional=False, bits=4):
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
        "sha256": f"{zlib.crc32(f'{method}/{seed}'.encode()):08x}" * 8,
        "seconds": SECONDS.get(method, 10.0) + float(generator.normal(0, 0.2)),
        "forget_passes": passes[0],
        "retain_passes": passes[1],
        "concurrent": False,
        "code_flips_by_layer": {
            layer["name"]: float(np.clip(metrics["code_flips"] * generator.uniform(0.4, 1.6), 0, 1))
            for layer in make_audit()
        },
    }
    if bits == 32:
        del metrics["code_flips"], metrics["scale_drift"], stats["code_flips_by_layer"]
    drawn = own_generator(method, seed)
    metrics |= distances(method, values, drawn, seeds=seeds) | (optional_metrics(values, drawn) if optional else {})
    stats |= further_stats(method, values, drawn) | ({"relearn_reached": True} if optional else {})
    return {
        "method": method, "seed": seed, "scenario": "random", "metrics": metrics, "stats": stats,
        "run_id": f"{method}{seed}",
    }  # fmt: skip


def distances(method, values, drawn, *, seeds):
    """The other membership figures, and distances to the reference, which one retrained model alone does not have."""
    size = sum(abs(v) for v in SHIFTS.get(method, FURTHER.get(method, (0.6, 0.0, 0.3, 0.8)))) / 4
    attacks = ("mia_correctness", "mia_entropy", "mia_modified_entropy", "mia_full")
    metrics = {name: float(np.clip(values[3] + drawn.normal(0, 0.8), 0, 100)) for name in attacks}
    for subset in ("test", "validation", "retain"):
        metrics[f"{subset}_entropy"] = float(np.clip(0.04 + (100 - values[2]) / 130, 0, 1))
        metrics[f"{subset}_max_probability"] = float(np.clip(0.98 - (100 - values[2]) / 160, 0, 1))
    for suffix in ("auc", "auc_margin", "tpr_at_1fpr"):
        metrics |= {f"mia_{suffix}_low": 0.0, f"mia_{suffix}_high": 1.0}
    if method == "retrain" and seeds == 1:
        return metrics
    for subset, weight in (("forget", 1.0), ("test", 0.6)):
        divergence = weight * (0.02 + 0.03 * size) * (1 + 0.1 * drawn.random())
        metrics |= {
            f"prediction_agreement_{subset}": float(np.clip(98 - weight * size + drawn.normal(0, 0.3), 0, 100)),
            f"kl_to_retrain_{subset}": float(divergence),
            f"js_to_retrain_{subset}": float(min(divergence / 5, np.log(2))),
        }
    return metrics | {"w2_loss": float(0.05 + 0.08 * size * (1 + 0.1 * drawn.random()))}


def optional_metrics(values, drawn):
    """What is measured only on request: shadow models, relearning."""
    rate = float(np.clip(0.03 + drawn.normal(0.01, 0.005), 0, 1))
    return {
        "lira_auc": float(np.clip(0.5 + (values[0] - 97) / 40, 0, 1)),
        "lira_tpr_at_1fpr": rate, "lira_tpr_at_1fpr_low": rate / 2, "lira_tpr_at_1fpr_high": min(2 * rate, 1.0),
        "relearn_steps": float(drawn.integers(0, 40)),
    }  # fmt: skip


def further_stats(method, values, drawn):
    stats = {
        "peak_memory_mb": float(
            {"original": 96.0, "retrain": 94.0, "ssd": 41.0}.get(method, 110.0) + drawn.normal(0, 1)
        ),
        "histograms": make_histograms(values, drawn),
        "departures": [],
    }
    if method in CONFLICTS:
        stats |= {"conflict": make_conflict(method, drawn)}
    if method in CONFLICTS or method == "qmul":
        stats["conflict_by_layer"] = {layer["name"]: float(drawn.uniform(-0.5, 0.3)) for layer in make_audit()}
    if method in EPOCHS:
        stats["forget_losses"] = make_forget_losses(*EPOCHS[method], drawn)
    return stats


def make_histograms(values, drawn):
    edges = {"confidence": np.linspace(0, 1, 21), "loss": np.geomspace(1e-6, 20, 31)}
    found = {name: {"edges": sides.tolist()} for name, sides in edges.items()}
    for subset, accuracy in zip(SUBSETS, values[:3], strict=True):
        sure = drawn.random(400) < np.clip(accuracy, 0, 100) / 100
        confidence = np.where(sure, drawn.beta(25, 1, 400), drawn.beta(2, 4, 400)).clip(1e-9, 1)
        for name, measured in (("confidence", confidence), ("loss", np.clip(-np.log(confidence), 1e-6, 20))):
            counts, _ = np.histogram(measured, edges[name])
            found[name][subset] = (counts / counts.sum()).tolist()
    return found


def make_conflict(method, drawn, points=105):
    """Means over bins of two steps; where a bin has no number, None."""
    cosine = -0.5 * np.exp(-np.arange(points) / 30) + 0.08 * drawn.normal(size=points)
    removed = [None if i % 25 == 24 or method == "pgu" else abs(float(v)) for i, v in enumerate(cosine)]
    return {
        "step": [2 * i + 1.5 for i in range(points)],
        "cosine_before": [None if i % 25 == 24 else float(v) for i, v in enumerate(cosine)],
        "removed_fraction": removed,
        "steps_per_point": 2,
        "steps": 2 * points,
    }


def make_forget_losses(first, second, drawn):
    """Losses that rise and part from epoch to epoch; `second` is 0 for a method without phases."""
    epochs = range(1, first + second + 1)
    losses = [epoch * drawn.gamma(0.5, 1.5, 129) for epoch in epochs]
    phases = {"phase": [1] * first + [2] * second} if second else {}
    quantiles = {f"p{part:02d}": [float(np.percentile(one, part)) for one in losses] for part in (5, 25, 50, 75, 95)}
    correct = [float((one < np.log(2)).mean()) for one in losses]
    return {"epoch": list(epochs), **phases, "correct": correct, **quantiles}


def make_audit(bits=4):
    names = ["conv1", *(f"layer{i}.0.conv{j}" for i in (1, 2, 3) for j in (1, 2)), "layer2.0.downsample.0", "fc"]
    edges = 8 if bits < 32 else 32
    quantizer = "lsq" if bits < 32 else "none"
    return [
        {
            "name": name,
            "kind": "Linear" if name == "fc" else "Conv2d",
            "weight_bits": edges if name in ("conv1", "fc") else bits,
            "activation_bits": edges if name in ("conv1", "fc") else bits,
            "weight_quantizer": quantizer,
            "activation_quantizer": quantizer,
            "per_channel": False,
            "edge": name in ("conv1", "fc"),
            "signed": name == "conv1",
        }
        for name in names
    ]


def make_method(name):
    selected = SELECTED.get(name, "given")
    needs = {"fine_tune": ["original", "retain"], "gradient_ascent": ["forget", "original"]}
    access = [*needs.get(name, ["forget", "original", "retain"])]
    access += ["validation"] if selected in ("validation", "oracle") else []
    access += ["retrained model", "test"] if selected == "oracle" else []
    settings = {"epochs": 10, "batch_size": 64, "learning_rate": 0.05, "optimizer": {"name": "sgd", "momentum": 0.9}}
    trials = []
    if selected in ("validation", "oracle"):
        for rate, score in ((0.01, 4.2), (0.05, 1.7), (0.1, 2.9)):
            terms = {"forget_term": score, "retain_term": score / 2, "validation_term": score, "membership_term": score}
            trials.append({
                "settings": {"learning_rate": rate}, "score": score, "terms": terms,
                "sha256": f"{zlib.crc32(f'{name}{rate}'.encode()):08x}" * 8, "chosen": rate == 0.05,
            })  # fmt: skip
    titles = {"oeu": "OEU: orthogonal entropy unlearning", "qmul": "Q-MUL"}
    return {
        "title": titles.get(name, name.replace("_", " ").capitalize()),
        "paper": {"oeu": "arXiv 2602.00567", "qmul": "arXiv 2503.13917"}.get(name, "-"),
        "status": {"oeu": "reconstruction", "qmul": "exact"}.get(name, "baseline"),
        "needs": needs.get(name, ["forget", "original", "retain"]),
        "selected_by": selected, "data_access": access, "settings": settings, "trials": trials,
    }  # fmt: skip


def make_context(seeds, methods=tuple(SHIFTS), *, optional=False, bits=4):
    return {
        "params": {
            "model": {"name": "resnet8", "width": 16},
            "quantization": {
                "quantizer": "lsq" if bits < 32 else "none", "weight_bits": bits, "activation_bits": bits,
                "edge_bits": 8, "per_channel": False,
            },
            "training": {"epochs": 30, "batch_size": 64, "learning_rate": 0.05, "schedule": "one_cycle"},
            "evaluate": {
                "batch_size": 1024, "bootstrap": 1000, "seed": 0, "shadows": 4 if optional else 0,
                "relearn": {"limit": 100, "learning_rate": 0.01, "batch_size": 64} if optional else None,
            },
        },
        "seeds": list(seeds),
        "data": {
            "source": "digits (scikit-learn)", "licence": "CC BY 4.0", "shape": [1, 8, 8], "classes": 10,
            "counts": {"train/forget": 129, "train/retain": 1164, "validation": 144, "test": 360},
            "scenario": {"kind": "random", "fraction": 0.1, "count": None},
            "erased_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        },
        "audit": make_audit(bits),
        "versions": {"torch": "2.15.0", "brevitas": "0.13.4", "python": "3.11.2"},
        "methods": {name: make_method(name) for name in methods if name != "original"},
        "hardware": "AMD EPYC 7B13, 2 threads",
    }  # fmt: skip


def make_evaluation(seeds=(0, 1, 2), methods=tuple(SHIFTS), *, optional=False, bits=4):
    """Content of evaluation.json; `optional` adds shadow models and relearning, `bits=32` takes a float network."""
    generator = np.random.default_rng(7)
    extras = {"seeds": len(seeds), "optional": optional, "bits": bits}
    cells = [make_cell("retrain", seed, RETRAIN[seed], generator, **extras) for seed in seeds]
    for method in methods:
        for seed in seeds:
            noise = generator.normal(0, 0.35, 4) * (8 if method == "gradient_ascent" else 1)
            values = np.array(RETRAIN[seed]) + {**SHIFTS, **FURTHER}[method] + noise
            cells.append(make_cell(method, seed, values, generator, **extras))
    return assemble(cells, make_context(seeds, methods, optional=optional, bits=bits))


LONG = "orthogonal-entropy-unlearning-by-layer-x"
LONGER_ORACLE = "random.label_searched+with-oracle.2026-1"
"""As long as a name can be."""
ROWS = {
    "qmul": ("oeu+bisector", "oeu", {"direction": {"kind": "bisector"}, "epochs": 10}),
    "aligned_masks": (LONG, "oeu", {"scope": "layer", "epochs": 5}),
    "random_label": (LONGER_ORACLE, "random_label", None),
    "pgu": ("g" * 40, "gradient_ascent", None),
}
"""Method of `make_evaluation` -> name of a row, the method it is of, settings of its own beside the shared ones."""


def make_variants():
    """An evaluation with several rows of one method, and names as long as they can be."""
    found = make_evaluation(methods=(*SHIFTS, "aligned_masks", "pgu"))
    methods = {}
    for name, entry in found["context"]["methods"].items():
        row, method, settings = ROWS.get(name, (name, name, None))
        own = {**entry, "method": method, "title": make_method(method)["title"]}
        methods[row] = {**own, "settings": {**entry["settings"], **settings}} if settings else own
    renamed = {name: row for name, (row, _, _) in ROWS.items()}
    parts = {
        part: [{**e, "method": renamed.get(e["method"], e["method"])} for e in found[part]]
        for part in ("cells", "summary")
    }
    return {**found, **parts, "context": {**found["context"], "methods": methods}}


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
def many_methods():
    """Eighteen methods, shadow models and relearning."""
    return make_evaluation(methods=(*SHIFTS, *FURTHER), optional=True)


@pytest.fixture(scope="session")
def float_network():
    return make_evaluation(bits=32)


@pytest.fixture(scope="session")
def variants():
    """Four rows with names of their own, three of them as long as names can be."""
    return make_variants()


@pytest.fixture(scope="session")
def steps():
    return make_steps()
