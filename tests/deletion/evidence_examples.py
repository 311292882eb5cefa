"""Facts of made-up requests, one for each outcome, and their signed evidence."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, date, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from qunlearn.deletion import evidence as e
from qunlearn.deletion.signing import SigningKey

OUTCOMES = ("unlearned", "retrained", "not trained", "already erased", "not present")
REQUEST = "r-0123456789abcdef"
OVERCLAIMS = re.compile(r"certif|\bproofs?\b|\bproven\b|\bproves\b|provabl|guarante", re.IGNORECASE)
"""Words for more than evidence is."""
COUNTS = {
    "unlearned": {"asked": 42, "known": 40, "unknown": 2, "already_erased": 1, "trained_on": 36},
    "retrained": {"asked": 40, "known": 40, "unknown": 0, "already_erased": 0, "trained_on": 40},
    "not trained": {"asked": 3, "known": 3, "unknown": 0, "already_erased": 1, "trained_on": 0},
    "already erased": {"asked": 2, "known": 2, "unknown": 0, "already_erased": 2, "trained_on": 0},
    "not present": {"asked": 5, "known": 0, "unknown": 5, "already_erased": 0, "trained_on": 0},
}
VERDICTS = {
    "unlearned": "Released: the candidate meets all binding gates. One gate is not informative, since the old model "
    "met it too.",
    "retrained": "Released: no unlearning method met all binding gates, so the model was trained anew.",
    "not trained": "No model was changed: the served model was not trained on any of the samples. They were erased.",
    "already erased": "Nothing was left to do: every sample was erased for an earlier request.",
    "not present": "Nothing could be done: no name belongs to a sample of this project.",
}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def key(number: int = 1) -> SigningKey:
    """A key that is the same in every run."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def key_text(number: int = 1) -> str:
    """The same as the environment holds it."""
    return base64.b64encode(bytes([number]) * 32).decode()


def gates() -> list[e.Gate]:
    same = {"weak": False, "binding": True}
    return [
        e.Gate(
            name="utility", passed=True, value=0.56, interval=(-0.21, 1.33), limit=2.0, before=0.0, passed_before=True,
            informative=True, **same,
            text="Held-out accuracy went from 96.94 to 96.38 % of 360 samples, a drop of 0.56 points (95 % interval "
            "-0.21 to 1.33); 2 are allowed.",
        ),
        e.Gate(
            name="membership", passed=True, value=0.531, interval=(0.442, 0.617), limit=0.55, before=0.684,
            passed_before=False, informative=True, **same,
            text="By loss, the score that tells retained from validation samples best, 36 samples to forget are told "
            "from test samples of the same classes with AUC 0.531 (95 % interval 0.442 to 0.617). The interval must "
            "reach down to 0.55.",
        ),
        e.Gate(
            name="streisand", passed=True, value=0.531, interval=(0.442, 0.617), limit=0.45, before=0.684,
            passed_before=True, informative=True, **same,
            text="The interval must reach up to 0.45.",
        ),
        e.Gate(
            name="loss_percentile", passed=True, value=47.1, interval=None, limit=38.0, before=41.2, passed_before=True,
            informative=False, weak=True, binding=False,
            text="Weak evidence, from 12 samples: their losses lie on average at 47.1 % of the way up those of "
            "held-out samples. Not informative: the champion passed as well, before anything was unlearned.",
        ),
    ]  # fmt: skip


def metrics() -> list[e.Metric]:
    rows = [
        ("forget", 36, (100.0, 90.36, 100.0), (94.44, 81.86, 98.46), (95.0, 83.0, 98.9)),
        ("retain", 1000, (99.8, 99.27, 99.95), (99.6, 98.98, 99.84), (99.7, 99.1, 99.9)),
        ("validation", 144, (97.22, 93.07, 98.91), (96.53, 92.13, 98.51), (97.0, 93.0, 98.8)),
        ("test", 360, (96.94, 94.62, 98.28), (96.39, 93.93, 97.87), None),
    ]

    def estimate(values: tuple[float, float, float]) -> e.Estimate:
        return e.Estimate(value=values[0], interval=values[1:])

    return [
        e.Metric(
            subset=subset, name="accuracy", unit="%", samples=samples, before=estimate(before), after=estimate(after),
            retrained=None if retrained is None else estimate(retrained),
        )
        for subset, samples, before, after, retrained in rows
    ]  # fmt: skip


def purge(objects: int = 4) -> e.Purge:
    known = [
        ("DVC output", "data/prepared", "md5:" + "1f" * 16 + ".dir", "working tree", "rewrite"),
        ("DVC object", "1f" * 16 + ".dir", "md5:" + "1f" * 16 + ".dir", "DVC cache", "remove"),
        ("model", "qunlearn-served version 6", f"sha256:{sha('before')}", "model store", "remove"),
        ("run file", "tables/per_sample.parquet", None, "artifacts of run 7c1e", "quarantine"),
    ]
    more = [("model", f"shadow model {n}", f"sha256:{sha(str(n))}", "model store", "remove") for n in range(objects)]
    names = ("kind", "name", "digest", "place", "action")
    done = [e.Purged(**dict(zip(names, one, strict=True))) for one in [*known, *more][:objects]]
    places = [("DVC cache", 812), ("DVC remote", 797), ("Model store", 64), ("Prepared data and splits", 9)]
    scan = e.Scan(places=[e.Scanned(what=what, objects=count) for what, count in places], found=0)
    return e.Purge(objects=done, scan=scan)


def parts(outcome: str = "unlearned", **changed: Any) -> dict[str, Any]:
    """What `build` is given."""
    counts = e.Counts(**COUNTS[outcome])
    model_changed = outcome in ("unlearned", "retrained")
    erased = model_changed or outcome == "not trained"
    parents = [
        e.Parent(version=4, weights=sha("full"), method="full training"),
        e.Parent(version=6, weights=sha("before"), method="oeu"),
    ]
    given: dict[str, Any] = {
        "request": e.Request(
            id=REQUEST, kind="group", outcome=outcome, received=datetime(2026, 11, 3, 8, 15, 2, tzinfo=UTC),
            due=date(2026, 12, 3), completed=datetime(2026, 11, 4, 3, 2, 41, tzinfo=UTC), counts=counts,
            samples=e.ids_digest(["a", "b"]) if counts.known else None,
            unknown_names=e.ids_digest([sha("x")]) if counts.unknown else None,
            subject=sha("keyed subject"), reference=None,
        ),
        "batch": e.Batch(id="b-fedcba9876543210", requests=2),
        "tool": e.Tool(version="0.1.0", git_commit="a1" * 20),
        "digests": e.Digests(
            source=sha("source"), parameters=sha("parameters"), retained=sha("retained") if model_changed else None,
            erased_before=sha("erased before") if erased else None, erased_after=sha("erased") if erased else None,
            erased_commit="b2" * 20 if erased else None,
        ),
        "ledger": e.LedgerHead(number=17, hash=sha("event 17")),
        "verdict": VERDICTS[outcome],
    }  # fmt: skip
    if model_changed:
        served = {"name": "qunlearn-served"}
        given["model"] = e.ModelChange(
            before=e.ServedModel(
                **served, version=6, weights=sha("before"), training_ids=sha("ids before"), training_samples=1293
            ),
            after=e.ServedModel(
                **served, version=7, weights=sha("after"), training_ids=sha("ids after"), training_samples=1240
            ),
        )
        unlearned = outcome == "unlearned"
        given["method"] = e.Method(
            name="oeu" if unlearned else "retrain", parameters=sha("settings"), seed=0,
            parents=parents if unlearned else (), sequential=2 if unlearned else 0, limit=5,
        )  # fmt: skip
        given["metrics"], given["gates"] = metrics(), gates()
    if outcome == "retrained":
        reason = "The model still knows the samples: AUC 0.631 (95 % interval 0.571 to 0.688)."
        given["attempts"] = [e.Attempt(method="oeu", seed=0, failed=["membership"], reason=reason)]
    if erased:
        given["purge"] = purge()
    return {**given, **changed}


def document(outcome: str = "unlearned", **changed: Any) -> e.Document:
    return e.build(**parts(outcome, **changed))


def signed(outcome: str = "unlearned", **changed: Any) -> e.Signed:
    return e.sign(document(outcome, **changed), key())
