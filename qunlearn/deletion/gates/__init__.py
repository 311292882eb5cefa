"""May an unlearned model be released? Gates that need no retrained model; docs/gates.md explains each.

    finite            no logit is NaN or infinite; a judgement has this gate only where it fails, and then no other
    utility, retain   how much accuracy on held-out and on retained samples was lost
    membership        30 samples or more: does an attack, chosen on validation images, still tell them from unseen ones?
    loss_percentile   under 30 samples: do their losses lie too low among those of held-out samples?
    streisand         are they told because they are conspicuously strange? Of few and of many samples
    class_held_out, class_forget    is a class that is forgotten whole still recognised?
    reference_*       with a retrained model at hand: forget, retain and test accuracy beside its own

Each is evaluated on the champion too. Where the champion already passes a gate that asks for forgetting, it is not
informative that the candidate passes.
"""

from qunlearn.deletion.gates.judge import judge
from qunlearn.deletion.gates.judgement import HARM, Gate, Judgement, Readings

__all__ = ["HARM", "Gate", "Judgement", "Readings", "judge"]
