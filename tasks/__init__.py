"""Prefect tasks: thin steps that call the library, record what they did and write files."""
