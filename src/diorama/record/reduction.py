"""From tensors to histograms and exact statistics, many tensors at once: small ones share one pass over one buffer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..model.plain_module import local
from .histogram import BINS, SHIFT, STATISTICS, HistogramValue, from_bins, from_many_bins

SAMPLE = 2**16
"""Elements that are counted at most; of larger tensors every n-th is."""
_SMALL = 4096
_CHUNK = 2**17
"""Elements whose statistics are taken at once, so that they are fetched from memory only once."""


def reduce(
    tensors: Mapping[str, Tensor], sample: int = SAMPLE, before: Mapping[str, Tensor] | None = None
) -> dict[str, HistogramValue]:
    """Histogram and statistics of each tensor.

    *Error* counts of tensors with more than ``sample`` elements are of every n-th element; low, high, mean, std and
    norm are always of all elements, to the rounding of float32 sums.

    With ``before`` (contiguous copies of earlier values) the differences are reduced; they take the place of the copies.
    """
    if before is not None:
        return _differences(tensors, before, sample)
    flat = {name: flattened(tensor) for name, tensor in tensors.items()}
    small = {name: tensor for name, tensor in flat.items() if 0 < tensor.numel() <= _SMALL}
    found = _together(small) if small else {}
    for name, tensor in flat.items():
        if name not in found:
            found[name] = _alone(tensor, sample)
    return {name: found[name] for name in tensors}


def flattened(tensor: Tensor) -> Tensor:
    """A tensor's elements as one row of float32 (of float64 where they are float64), without gradients; of complex
    numbers their magnitudes."""
    tensor = local(tensor.detach())
    if tensor.layout is not torch.strided:
        tensor = tensor.coalesce().values() if tensor.layout is torch.sparse_coo else tensor.to_dense()
    if tensor.is_complex():
        tensor = tensor.resolve_conj().abs()
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()
    if not tensor.is_contiguous() and tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.reshape(-1)


def _plain(tensor: Tensor) -> Tensor:
    """A tensor that can be copied and subtracted: sparse ones as dense, those of 8 bits as float32."""
    tensor = local(tensor.detach())
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return tensor.float() if tensor.element_size() == 1 else tensor


def _differences(
    tensors: Mapping[str, Tensor], before: Mapping[str, Tensor], sample: int
) -> dict[str, HistogramValue]:
    """Subtract and reduce large tensors piece by piece, so that each piece is fetched from memory only once."""
    small, found = {}, {}
    for name, tensor in tensors.items():
        now, old = _plain(tensor), before[name]
        if now.numel() <= _SMALL or not now.is_contiguous() or now.dtype != torch.float32:
            small[name] = torch.sub(now, old, out=old)
        else:
            found[name] = _alone(now.reshape(-1), sample, old.reshape(-1))
    found |= reduce(small, sample)
    return {name: found[name] for name in tensors}


def copies(tensors: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Contiguous copies with the tensors' norms, in the memory of earlier copies where there is some."""
    found, squares = {}, []
    for name, tensor in tensors.items():
        tensor = _plain(tensor)
        copy = into.get(name)
        if copy is None:
            copy = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
        if tensor.numel() <= _CHUNK or not tensor.is_contiguous() or tensor.is_complex():
            squares.append(torch.linalg.vector_norm(copy.copy_(tensor)).square().double())
        else:
            parts = zip(torch.split(tensor.reshape(-1), _CHUNK), torch.split(copy.reshape(-1), _CHUNK), strict=True)
            squares.append(torch.stack([torch.dot(old.copy_(now), old) for now, old in parts]).double().sum())
        found[name] = copy
    norms = torch.stack([square.cpu() for square in squares]).sqrt().tolist() if squares else []
    return found, dict(zip(found, norms, strict=True))


def _together(tensors: Mapping[str, Tensor]) -> dict[str, HistogramValue]:
    single = torch.cat(list(tensors.values())).cpu().numpy()
    sizes = np.array([tensor.numel() for tensor in tensors.values()])
    starts = np.cumsum(sizes) - sizes
    owner = np.repeat(np.arange(len(sizes)) * BINS, sizes)
    owner += _patterns(single)
    full = np.bincount(owner, minlength=BINS * len(sizes)).reshape(-1, BINS)
    statistics = np.zeros((len(sizes), STATISTICS))
    with np.errstate(all="ignore"):
        double = single.astype(np.float64)
        statistics[:, 0] = np.minimum.reduceat(single, starts)
        statistics[:, 1] = np.maximum.reduceat(single, starts)
        statistics[:, 2] = np.add.reduceat(double, starts) / sizes
        squares = np.add.reduceat(np.square(double, out=double), starts)
        variance = squares / sizes - statistics[:, 2] ** 2
        # What is left of equal numbers is rounding.
        statistics[:, 3] = np.sqrt(np.where(variance > 1e-14 * statistics[:, 2] ** 2, variance, 0.0))
        statistics[:, 7] = np.sqrt(squares)
    statistics[:, 4], statistics[:, 8] = sizes, 1
    for k in np.flatnonzero(~np.isfinite(statistics[:, 7])):
        _of_finite(statistics[k], single[starts[k] : starts[k] + sizes[k]])
    return dict(zip(tensors, from_many_bins(full, statistics), strict=True))


def _patterns(values: np.ndarray) -> np.ndarray:
    if values.dtype != np.float32 or not values.flags.c_contiguous:
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.ascontiguousarray(values, np.float32)
    return values.view(np.uint32) >> SHIFT


def _alone(tensor: Tensor, sample: int, before: Tensor | None = None) -> HistogramValue:
    size = tensor.numel()
    stride = -(-size // sample) | 1 if size > sample else 1
    row = np.zeros(STATISTICS)
    row[4], row[8] = size, stride
    if not size:
        return from_bins(np.zeros(BINS, np.int64), row)
    samples, lows, highs, sums, squares = [], [], [], [], []
    pieces = torch.split(tensor, _CHUNK)
    olds = torch.split(before, _CHUNK) if before is not None else pieces
    for chunk, old in zip(pieces, olds, strict=True):
        if before is not None:
            chunk = torch.sub(chunk, old, out=old)
        samples.append(chunk[::stride])
        lows.append(chunk.amin())
        highs.append(chunk.amax())
        sums.append(chunk.sum())
        squares.append(torch.dot(chunk, chunk))
    tensor = tensor if before is None else before
    sampled = samples[0].contiguous() if len(samples) == 1 else torch.cat(samples)
    counts = np.bincount(_patterns(sampled.cpu().numpy()), minlength=BINS)
    found = torch.stack(lows + highs + sums + squares).double().cpu().numpy().reshape(4, -1)
    row[0], row[1] = found[0].min(), found[1].max()
    total, square = found[2].sum(), found[3].sum()
    row[2], row[7] = total / size, np.sqrt(square)
    if not np.isfinite(row[7]) or not np.isfinite(row[2]):
        _of_finite(row, tensor.cpu().numpy())
        return from_bins(counts, row)
    variance = square / size - row[2] ** 2
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
