"""Small tensors gain nothing from many threads, and results do not depend on the machine's number of cores."""

import os

# Before PyTorch is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
