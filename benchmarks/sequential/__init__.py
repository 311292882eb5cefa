"""Successive deletion requests: does a model that is unlearned again and again stay as good as a retrained one?

A network is trained once. Then requests arrive one after the other, each for the same small share of its training
images, and each model is made from the one before, as the deletion flow makes it: the same methods, the same rule for
retraining (`max_sequential`), the same rule for seeds. After each request every model is held against a network that
was retrained from fresh weights without all samples asked for so far.

    setting.py     what is done, from `digits.yaml` and `fashion.yaml`
    ground.py      images, split, and which samples each request asks for
    models.py      how a model is made: trained, retrained as a reference, or made from the one before
    measuring.py   what is measured on one model, and what the gates say
    kept.py        finished models and figures on the disk, so that a run goes on where it stopped
    course.py      all requests of one seed, in order
    summary.py     gaps, noise floor, verdicts
    figure.py, page.py, publish.py
"""
