"""Medians are NumPy's to the last digit, and load nothing."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

from diorama.record.medians import median, nanmedian


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (8,), (5, 6), (6, 1), (3, 5)])
def test_medians_are_those_of_numpy(shape: tuple[int, ...], dtype: type) -> None:
    """Odd and even numbers of numbers, some of them NaN or infinite, along either axis; also whole rows of NaN."""
    random = np.random.default_rng(0)
    for trial in range(12):
        values = (100 * random.normal(size=shape)).astype(dtype)
        if dtype is not np.int64:
            values[random.random(shape) < 0.1 * (trial % 4)] = np.nan
            values[random.random(shape) < 0.1 * (trial % 3)] = np.inf
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for axis in (None, *range(len(shape))):
                np.testing.assert_allclose(median(values, axis), np.median(values, axis), rtol=1e-7)
                np.testing.assert_allclose(nanmedian(values, axis), np.nanmedian(values, axis), rtol=1e-7)
                if axis is not None:
                    assert nanmedian(values, axis, keepdims=True).shape == np.nanmedian(values, axis, keepdims=True).shape
    assert np.isnan(median([]))
    assert np.isnan(nanmedian([]))


def test_medians_load_no_masked_arrays() -> None:
    """They would take longer than most findings of a run together."""
    code = (
        "import sys, numpy as np; before = 'numpy.ma' in sys.modules; from diorama.record.medians import median, nanmedian;"
        "median([1.0, 2.0]); nanmedian([[1.0, np.nan]], 1); print(before or 'numpy.ma' not in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
