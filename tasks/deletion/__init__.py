"""The steps of the deletion flow, and which follows which. Each finds what of it was done before, and does the rest."""

from tasks.deletion.claiming import claim_batch, give_back, kept
from tasks.deletion.course import carry_out

__all__ = ["carry_out", "claim_batch", "give_back", "kept"]
