"""The commands of `qunlearn` that have commands of their own, one file each; `flows.cli` puts them together."""
