"""From tensors to histograms and exact statistics, many tensors at once: small ones share one pass over one buffer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from .histogram import BINS, SHIFT, STATISTICS, HistogramValue, from_bins

SAMPLE = 2**18
"""Elements that are counted at most; of larger tensors every n-th is."""
_SMALL = 8192


def reduce(tensors: Mapping[str, Tensor], sample: int = SAMPLE) -> dict[str, HistogramValue]:
    """Histogram and statistics of each tensor.

    *Error* counts of tensors with more than ``sample`` elements are of every n-th element; low, high, mean, std and
    norm are always of all elements, to the rounding of float32 sums.
    """
    flat = {name: flattened(tensor) for name, tensor in tensors.items()}
    small = {name: tensor for name, tensor in flat.items() if 0 < tensor.numel() <= _SMALL}
    found = _together(small) if small else {}
    for name, tensor in flat.items():
        if name not in found:
            found[name] = _alone(tensor, sample)
    return {name: found[name] for name in tensors}


def flattened(tensor: Tensor) -> Tensor:
    """A tensor's elements as one row of float32 (of float64 where they are float64), without gradients."""
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.coalesce().values() if tensor.layout is torch.sparse_coo else tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()
    if not tensor.is_contiguous() and tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.reshape(-1)


def _together(tensors: Mapping[str, Tensor]) -> dict[str, HistogramValue]:
    values = torch.cat([tensor.double() for tensor in tensors.values()]).cpu().numpy()
    sizes = np.array([tensor.numel() for tensor in tensors.values()])
    starts = np.cumsum(sizes) - sizes
    owner = np.repeat(np.arange(len(sizes)) * BINS, sizes)
    full = np.bincount(_patterns(values) + owner, minlength=BINS * len(sizes)).reshape(-1, BINS)
    statistics = np.zeros((len(sizes), STATISTICS))
    with np.errstate(all="ignore"):
        statistics[:, 0] = np.minimum.reduceat(values, starts)
        statistics[:, 1] = np.maximum.reduceat(values, starts)
        statistics[:, 2] = np.add.reduceat(values, starts) / sizes
        statistics[:, 7] = np.sqrt(np.add.reduceat(np.square(values), starts))
        apart = values - np.repeat(statistics[:, 2], sizes)
        statistics[:, 3] = np.sqrt(np.add.reduceat(np.square(apart), starts) / sizes)
    statistics[:, 4], statistics[:, 8] = sizes, 1
    found = {}
    for name, counts, row, start, size in zip(tensors, full, statistics, starts, sizes, strict=True):
        if not np.isfinite(row[7]):
            _of_finite(row, values[start : start + size])
        found[name] = from_bins(counts, row)
    return found


def _patterns(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.ascontiguousarray(values, np.float32)
    return (single.view(np.uint32) >> SHIFT).astype(np.intp)


def _alone(tensor: Tensor, sample: int) -> HistogramValue:
    size = tensor.numel()
    stride = -(-size // sample) | 1 if size > sample else 1
    row = np.zeros(STATISTICS)
    row[4], row[8] = size, stride
    if not size:
        return from_bins(np.zeros(BINS, np.int64), row)
    part = tensor[::stride].cpu().numpy()
    counts = np.bincount(_patterns(part), minlength=BINS)
    low, high = torch.aminmax(tensor)
    total, norm = tensor.sum(), torch.linalg.vector_norm(tensor)
    row[0], row[1], row[2], row[7] = torch.stack([low, high, total, norm]).double().cpu().numpy()
    row[2] /= size
    if not np.isfinite(row[7]) or not np.isfinite(row[2]):
        _of_finite(row, tensor.cpu().numpy())
        return from_bins(counts, row)
    variance = row[7] ** 2 / size - row[2] ** 2
    if variance < 0.1 * row[2] ** 2:  # too much would cancel
        variance = float(torch.linalg.vector_norm(tensor - row[2])) ** 2 / size
    row[3] = np.sqrt(max(variance, 0.0))
    return from_bins(counts, row)


@np.errstate(all="ignore")
def _of_finite(row: np.ndarray, values: np.ndarray) -> None:
    """Statistics where something is not finite, or too large for float32 sums."""
    values = values.astype(np.float64)
    row[5], row[6] = np.isnan(values).sum(), np.isinf(values).sum()
    finite = values[np.isfinite(values)]
    if len(finite):
        row[0], row[1], row[2], row[3] = finite.min(), finite.max(), finite.mean(), finite.std()
    else:
        row[:4] = np.nan
    row[7] = np.sqrt(np.square(values).sum())
