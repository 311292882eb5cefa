"""Prefect flows: one file per stage of the experiment, the deletion flow, and the `qunlearn` command."""
