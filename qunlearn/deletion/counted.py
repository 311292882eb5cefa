"""Numbers of things, as a person writes them."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Such as ``1 sample`` or ``2,000 samples``; of nouns that only need an s."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
