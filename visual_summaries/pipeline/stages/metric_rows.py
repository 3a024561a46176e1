"""Rows of the table `metrics`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from visual_summaries.pipeline.evaluate.intervals import mean_interval
from visual_summaries.pipeline.runtime.units import known


def metric_row(
    label: str,
    metric: str,
    value: float,
    n: int,
    unit: str = "",
    method: str = "",
    low: float | None = None,
    high: float | None = None,
) -> dict[str, Any]:
    """A row of `metrics`; what is not finite becomes null."""
    return {
        "label": label,
        "metric": metric,
        "value": known(value),
        "low": known(low),
        "high": known(high),
        "n": n,
        "unit": unit,
        "method": method,
    }


def mean_row(label: str, metric: str, values: Sequence[float], unit: str, method: str, seed: int) -> dict[str, Any]:
    """The mean of `values` with its 95 % bootstrap interval."""
    value, low, high = mean_interval(np.asarray(values, dtype=float), seed)
    return metric_row(label, metric, value, len(values), unit, method, low, high)
