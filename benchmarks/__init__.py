"""Speed, as ratios measured in one run; each module runs with ``python -m benchmarks.<name> [--json]``."""
