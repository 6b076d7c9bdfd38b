"""Probabilities that the loop makes of scores before a loss that makes probabilities of them once more: told by the slopes at the scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SAME = 0.02
"""Factors that lie within this share of each other are one …"""
_APART = 0.05
"""… and those that lie further apart are not."""
_NONE = 1e-12
_STEEP = 1e-3
"""What a softmax or sigmoid hands back is told where its own slope is above this."""
_BETTER = 0.05
"""What is made of probabilities once more is told where it leaves at most this share of what is left where they are taken as they are: of sure
answers, and of such that are all alike, one loss pulls like the other."""
_ROWS = 8
"""Examples, or numbers, from which on factors tell something."""
_LOOKED = 64
"""Examples that are looked at one by one, about."""
_HELD = 0.5
"""Smoothing takes no more from a label than this."""
_TEMPERATURES = tuple(1 + sign * 0.002 * 1.5**step for step in range(8) for sign in (1, -1))
"""Numbers near one by which probabilities may be taken …"""
_BETTER_FIT = 0.5
"""… and so much better one of them must fit."""
_FLAT = 0.05
"""Pulls of labels and of others are told apart by a gap; scores that lie within less of each other fit every loss."""


def twice(scores: NDArray[np.float64], slopes: NDArray[np.float64] | None) -> NDArray[np.int64] | None:
    """The labels, where the loop makes probabilities of the scores and gives them to a cross-entropy, which does so once more; else None.

    *Meaning* with p the probabilities (a softmax or sigmoids of the scores) and q what the loss makes of them, the slopes are c·Jᵀ(q − y), with
    J the slopes of p and the same c in all rows; with smoothed labels y is smoothed, with weighted classes c is the label's own. Known where that
    fits and the slopes of the plain loss, c·(p − y), do not. Of log-probabilities nothing is to be seen: a softmax of them is what they came from.
    −1 where a row tells nothing.
    """
    if slopes is None or slopes.shape != scores.shape or not np.isfinite(scores).all() or not np.isfinite(slopes).all() or not slopes.any():
        return None
    sigmoids = 1 / (1 + np.exp(-np.clip(scores, -500, 500)))
    if scores.shape[1] == 1:
        steep, again = sigmoids * (1 - sigmoids), 1 / (1 + np.exp(-sigmoids))
        one = slopes[:, 0] < 0
        met = (steep[:, 0] > _STEEP) & (slopes[:, 0] != 0)
        once = _factors(slopes[met, 0] / (sigmoids[met, 0] - one[met]))
        pulls = slopes[met, 0] / steep[met, 0]
        factor = _factors(pulls / (again[met, 0] - one[met]))
        if factor < _SAME and any(
            _factors(pulls / (_sigmoid(times * sigmoids[met, 0]) - one[met])) < _BETTER_FIT * factor for times in _TEMPERATURES
        ):
            return None
        return np.where(met, one, -1).astype(np.int64) if factor < _SAME < _APART < once < np.inf and 0 < one[met].mean() < 1 else None
    shares = _softmax(scores)
    # Near to nothing a probability still has all its digits, near to one it has none.
    for made, steep, least in ((shares, shares, _NONE), (sigmoids, sigmoids * (1 - sigmoids), _STEEP)):
        again, clear = _softmax(made), steep > least
        pulls = slopes / np.maximum(steep, least)
        labels, rows = np.where(clear, pulls, np.inf).argmin(1), np.arange(len(pulls))
        # The label pulls less than any other by c: what is between two others is c times what is between their shares.
        factors = (pulls - pulls[rows, labels, None]) / (1 + again - again[rows, labels, None])
        met = clear & clear[rows, labels, None] & (np.arange(scores.shape[1]) != labels[:, None])
        known = met.any(1) & (slopes.min(1) < 0)
        missing = 1 - shares[rows, labels]
        once = _factors((-slopes[rows, labels] / np.maximum(missing, 1e-300))[known & (missing > _STEEP)])
        if known.sum() < _ROWS:
            continue
        flat = pulls - pulls[rows, labels, None]
        left, apart = _factors(factors[met & known[:, None]]), _factors(flat[met & known[:, None]])
        if left < _SAME < _APART < once < np.inf and left < _BETTER * apart:
            return None if _tempered(flat, made, met & known[:, None], labels, left) else np.where(known, labels, -1)
        bent = _weighted(factors, flat, met, labels, known) or _smoothed(pulls, again, made, met, labels, known)
        if bent and not _plain(slopes, shares, met, known):
            return np.where(known, labels, -1)
    return None


def _tempered(
    flat: NDArray[np.float64], made: NDArray[np.float64], met: NDArray[np.bool_], labels: NDArray[np.int64], left: float,
) -> bool:
    """Whether the loss takes the probabilities times a number that is not quite one: a temperature, which may grow until answers are sure."""
    rows = np.arange(len(made))
    for times in _TEMPERATURES:
        again = _softmax(times * made)
        if _factors((flat / (1 + again - again[rows, labels, None]))[met]) < _BETTER_FIT * left:
            return True
    return False


def _weighted(
    factors: NDArray[np.float64], flat: NDArray[np.float64], met: NDArray[np.bool_], labels: NDArray[np.int64], known: NDArray[np.bool_],
) -> bool:
    """Whether all rows of one label have one factor, and have it by what is made of the probabilities once more."""
    left, apart = _by_label(factors, met, labels, known), _by_label(flat, met, labels, known)
    return left is not None and apart is not None and left < min(_SAME, _BETTER * apart)


def _smoothed(
    pulls: NDArray[np.float64], again: NDArray[np.float64], made: NDArray[np.float64], met: NDArray[np.bool_], labels: NDArray[np.int64],
    known: NDArray[np.bool_],
) -> bool:
    """Whether all rows have one factor where the labels are smoothed, by some share that is the same in all of them.

    Between answers that are nearly alike every loss is a straight line: the line must fit better than one in the probabilities, or in the scores.
    """
    rows = np.arange(len(pulls))
    use = met & known[:, None]
    apart, beside = (pulls - pulls[rows, labels, None])[use], (again - again[rows, labels, None])[use]
    if len(apart) < 2 * _ROWS or np.ptp(beside) < _FLAT:
        return False
    factor, whole = np.polyfit(beside, apart, 1)
    held = whole / factor if factor > 0 else 0.0
    scores = np.log(np.maximum(made, _NONE))
    others = [(each - each[rows, labels, None])[use] for each in (made, scores)]
    if _off_line(beside, apart) > _BETTER * min(_off_line(each, apart) for each in others):
        return False
    return bool(_HELD < held < 1 + _SAME and _factors(apart / (held + beside)) < min(_SAME, _BETTER * _factors(apart)))


def _off_line(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """How far points lie from the line that fits them best, but for the outermost."""
    slope, start = np.polyfit(x, y, 1)
    return float(np.quantile(np.abs(y - slope * x - start), 0.95))


def _plain(slopes: NDArray[np.float64], shares: NDArray[np.float64], met: NDArray[np.bool_], known: NDArray[np.bool_]) -> bool:
    """Whether, beside the labels, slopes are the probabilities times one number a row less another: as of scores that are taken for scores."""
    use = met & (shares > _STEEP)
    for row in np.flatnonzero(known & (use.sum(1) >= 2)):
        p, pulled = shares[row, use[row]], slopes[row, use[row]]
        ratio = pulled / p
        if np.ptp(ratio) > _APART * np.abs(ratio).max():
            break
    else:
        if slopes.shape[1] > 2:  # of two classes there is one beside the label: how it goes with its probability tells
            return True
    p, pulled = shares[use & known[:, None]], slopes[use & known[:, None]]
    if len(p) < _ROWS or np.ptp(p) < _FLAT:
        return True
    factor, less = np.polyfit(p, pulled, 1)
    return bool(np.quantile(np.abs(factor * p + less - pulled), 0.95) < _APART * np.ptp(pulled))


def _by_label(
    factors: NDArray[np.float64], met: NDArray[np.bool_], labels: NDArray[np.int64], known: NDArray[np.bool_],
) -> float | None:
    """How far the factors of one label lie apart, at most; None where too few rows share theirs with another."""
    found, shared = [0.0], 0
    for label in np.unique(labels[known]):
        mine = known & (labels == label)
        if mine.sum() < 2:
            continue
        shared += int(mine.sum()) - 1
        low, middle, high = np.quantile(factors[mine][met[mine]], (0.05, 0.5, 0.95))
        found.append(float((high - low) / middle) if middle > 0 else np.inf)
    return max(found) if shared >= _ROWS else None


def twice_each(scores: NDArray[np.float64], slopes: NDArray[np.float64] | None) -> bool:
    """Whether the loop makes probabilities of scores of which each has a label of its own, and gives them to a loss that does so once more.

    *Meaning* with p the probabilities and q the sigmoids of these, the slopes are c·Jᵀ(q − y) with y nothing or one; c may be each column's own, and
    another one where y is one.
    """
    if slopes is None or slopes.shape != scores.shape or scores.shape[1] < 2 or not np.isfinite(scores).all() or not np.isfinite(slopes).all():
        return False
    sigmoids, labels = _sigmoid(scores), slopes < 0
    if not slopes.any() or labels.all() or not labels.any():
        return False
    steep = sigmoids * (1 - sigmoids)
    clear = (steep > _STEEP) & (slopes != 0)
    each = _by_column(slopes / np.where(clear, steep * (_sigmoid(sigmoids) - labels), 1.0), labels, clear)
    plain = _by_column(slopes / np.where(clear, sigmoids - labels, 1.0), labels, clear)
    flat = _by_column(slopes / np.where(clear, steep * np.where(labels, -1, 1), 1.0), labels, clear)
    if each is not None and plain is not None and flat is not None and each < _SAME < _APART < plain and each < _BETTER * flat:
        return True
    return plain is not None and plain > _APART and _one_softmax(scores, slopes)


def _by_column(factors: NDArray[np.float64], labels: NDArray[np.bool_], clear: NDArray[np.bool_]) -> float | None:
    """How far factors of one column and one label lie apart, in the mean; None where too few are known."""
    found, count = [], 0
    for column in range(factors.shape[1]):
        for label in (False, True):
            mine = factors[clear[:, column] & (labels[:, column] == label), column]
            if len(mine) >= 3:
                low, middle, high = np.quantile(mine, (0.05, 0.5, 0.95))
                found.append(float((high - low) / middle) if middle > 0 else np.inf)
                count += len(mine)
    return float(np.mean(found)) if count >= 2 * _ROWS else None


def _one_softmax(scores: NDArray[np.float64], slopes: NDArray[np.float64]) -> bool:
    """The same of a softmax over the columns: what an example has of them falls from its others by about one factor."""
    rows, apart, bent = [], max(1, len(scores) // _LOOKED), 0
    for p, slope in zip(_softmax(scores[::apart]), slopes[::apart], strict=True):
        clear = p > _NONE
        if clear.sum() < 3 or not slope.any():
            continue
        pulls, again = slope[clear] / p[clear], _sigmoid(p[clear])
        order = np.argsort(pulls)
        cut = int(np.diff(pulls[order]).argmax()) + 1
        on, off = order[:cut], order[cut:]
        factor = float((pulls[off].mean() - pulls[on].mean()) / (1 + again[off].mean() - again[on].mean()))
        left = pulls - factor * again
        left[on] += factor
        rows.append((factor if np.ptp(left) <= _SAME * factor else 0.0, pulls, again))
        bent += max(np.ptp(left[on]), np.ptp(left[off])) < _BETTER * max(np.ptp(pulls[on]), np.ptp(pulls[off]))
    told = [factor for factor, _, _ in rows if factor > 0]
    if len(told) < _ROWS or bent < _ROWS:
        return False
    # An example that has all of them, or none, is not parted by a gap: its factor seems small.
    usual = float(np.quantile(told, 0.9))
    parted = [abs(factor - usual) <= _SAME * usual for factor, _, _ in rows]
    flat = [np.ptp(pulls - usual * again) <= _SAME * usual for _, pulls, again in rows]
    return sum(parted) >= _ROWS and all(one or other for one, other in zip(parted, flat, strict=True))


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -500, 500))))


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = np.exp(values - values.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True))


def _factors(values: NDArray[np.float64]) -> float:
    """How far factors lie apart beside their size, but for the outermost; infinitely far where they are few, or not above nothing."""
    if len(values) < _ROWS:
        return np.inf
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return float((high - low) / middle) if middle > 0 else np.inf
