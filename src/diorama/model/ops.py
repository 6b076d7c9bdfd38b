"""What each op of torch does: the one table that every part which follows ops reads."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

Kind = Literal[
    "function", "along", "sum", "factor", "mix", "extreme", "choice", "cast", "dropout", "writes", "rearranged", "weights",
    "scaled", "product", "shares", "normalizes", "softmax", "handed_on",
]


@dataclasses.dataclass(frozen=True)
class Op:
    """What an op does with the numbers that it is given.

    *Meaning* ``function``: one result for each number, by itself; ``along``: the same, among its neighbours. ``sum`` and
    ``factor`` join two tensors number by number, ``mix`` three, ``extreme`` takes the larger or smaller. ``choice``,
    ``rearranged``, ``cast``, ``dropout`` and ``writes`` only choose, move or copy numbers, ``handed_on`` gives the tensor
    itself on. ``weights`` are linear with weights, ``scaled`` with one for each channel, ``product`` multiplies two matrices,
    ``shares`` is linear without weights of its own. ``local``: each place of the result reads the same place of its inputs.
    """

    kind: Kind
    local: bool = False


def _rows(kind: Kind, names: str, local: bool = False) -> dict[str, Op]:
    return dict.fromkeys(names.split(), Op(kind, local))


OPS: dict[str, Op] = {
    **_rows("function", """relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish tanh sigmoid hardtanh hardswish
        hardsigmoid softplus softsign softshrink hardshrink tanhshrink threshold logsigmoid log_sigmoid clamp clamp_min
        clamp_max clip abs neg exp expm1 log log1p log2 log10 sqrt rsqrt square reciprocal sin cos atan erf pow sign
        local_response_norm nan_to_num""", local=True),
    **_rows("along", "log_softmax normalize"),
    **_rows("softmax", "softmax"),
    **_rows("sum", "add sub subtract rsub", local=True),
    **_rows("factor", "mul multiply div divide true_divide rdiv", local=True),
    **_rows("mix", "lerp addcmul", local=True),
    **_rows("extreme", "maximum minimum", local=True),
    **_rows("choice", "where masked_fill", local=True),
    **_rows("cast", "clone contiguous to type type_as float double half bfloat16 cpu cuda", local=True),
    **_rows("handed_on", "data detach alias requires_grad retain_grad set_ register_hook", local=True),
    **_rows("dropout", """dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout
        native_dropout""", local=True),
    **_rows("writes", "copy fill", local=True),
    **_rows("rearranged", "expand expand_as channel_shuffle", local=True),
    **_rows("rearranged", """view view_as reshape reshape_as flatten unflatten squeeze unsqueeze permute transpose t T mT H mH
        movedim moveaxis swapaxes swapdims repeat repeat_interleave tile broadcast_to broadcast_tensors cat concat
        concatenate stack hstack vstack dstack chunk split split_with_sizes tensor_split unbind getitem setitem narrow select
        index_select gather take take_along_dim masked_select masked_scatter scatter index_put index_copy index_fill flip
        fliplr flipud roll rot90 pad diagonal diag triu tril unfold pixel_shuffle pixel_unshuffle ravel atleast_1d atleast_2d
        atleast_3d as_strided max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
        max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d_with_indices
        adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices fractional_max_pool2d max min amax amin topk sort
        median kthvalue identity zero zeros_like meshgrid align_to_dims real positive resize_as block_diag hsplit vsplit
        dsplit squeeze_copy _pack_padded_sequence _pad_packed_sequence conj resolve_conj resolve_neg"""),
    **_rows("shares", """avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d mean sum
        nanmean interpolate upsample grid_sample fold cumsum diff"""),
    **_rows("weights", """linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d addmm"""),
    **_rows("scaled", "batch_norm native_batch_norm", local=True),
    **_rows("product", "matmul mm bmm mv dot inner einsum"),
    **_rows("normalizes", "layer_norm group_norm instance_norm rms_norm"),
}
"""By the op's name, without the underscore of one that writes in place."""


def named(*kinds: Kind) -> frozenset[str]:
    """The ops of some kinds."""
    return frozenset(name for name, op in OPS.items() if op.kind in kinds)


UNWRITTEN = frozenset({"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"})
"""What only takes memory: the numbers that stand in it by chance mean nothing until something is written there."""

PASSED = named("function", "along")
"""One result for each number."""
GATES = frozenset({"sigmoid", "hardsigmoid", "rsqrt", "reciprocal"})
"""Results that weigh others: in a product with one of them, the other factor takes all."""
SHARED = named("shares")
MOVED = named("rearranged", "choice", "cast", "dropout", "writes", "extreme", "handed_on")
"""Ops that only choose, copy or move numbers: relevance follows them, as a gradient does."""
NORMALIZED = named("normalizes")
SOFTMAX = named("softmax")
SCALED = named("scaled")
PRODUCTS = named("product")
LINEAR = named("weights", "scaled", "sum") | {"neg"}
"""Linear where their weights are constants."""
CONVOLUTIONS = named("weights") - {"linear", "addmm"}
LOCAL = frozenset(name for name, op in OPS.items() if op.local)
"""Each place of the result reads the same place of what goes in."""
WINDOWED = LOCAL & named("function", "sum", "factor", "mix", "extreme", "choice", "cast") - {"rrelu", "contiguous"}
"""Those of which a window can be computed by itself."""
DROPOUT = named("dropout")
ALIASES = named("handed_on") - {"register_hook"} | {"requires_grad_"}
"""Ops that hand on the tensor itself: they are no places of their own."""
NOTHING_DONE = named("cast") - {"clone"}
"""Ops that mostly return the very tensor that they were given, and then are no places either (but they are counted, as
what they do may depend on how a tensor lies in memory)."""
ASKS = frozenset((
    "shape", "size", "dim", "ndim", "ndimension", "device", "dtype", "layout", "numel", "nelement", "len",
    "is_floating_point", "is_complex", "is_cuda", "is_inference", "is_sparse", "is_quantized", "is_nested", "requires_grad",
    "is_leaf", "_version", "element_size", "names", "grad_fn", "is_contiguous", "stride", "is_mkldnn", "is_meta",
))
"""Asked of a tensor, these read no value of it."""
LIKE = frozenset(f"{way}{name}{like}" for name in ("zeros", "ones", "full", "empty", "rand", "randn", "randint", "tensor")
                 for way, like in (("", "_like"), ("new_", "")))
"""These make a tensor of another's form, and read no value of it either."""

GENERATED = frozenset((
    "rand", "randn", "randint", "randperm", "bernoulli", "multinomial", "normal", "random_", "bernoulli_", "uniform_",
    "normal_", "exponential_", "cauchy_", "geometric_", "log_normal_", "poisson", "binomial",
))
"""Ops that draw random numbers and take a generator for them."""
DRAWS = GENERATED | DROPOUT | frozenset(name + "_" for name in DROPOUT) | frozenset((
    "_sample_dirichlet", "_standard_gamma", "fractional_max_pool2d", "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d", "fractional_max_pool3d_with_indices", "gru", "gumbel_softmax", "kaiming_normal_",
    "kaiming_uniform_", "lstm", "multi_head_attention_forward", "orthogonal_", "rand_like", "randint_like", "randn_like",
    "rnn_relu", "rnn_tanh", "rrelu", "rrelu_", "scaled_dot_product_attention", "trunc_normal_", "xavier_normal_",
    "xavier_uniform_",
))
"""Ops that may draw from a default generator."""

_LEFT_OUT = DROPOUT | {"rrelu"}
_TOLD = frozenset({"gru", "lstm", "rnn_relu", "rnn_tanh", "multi_head_attention_forward", "scaled_dot_product_attention"})
NOISE = DRAWS - _LEFT_OUT - frozenset(name + "_" for name in _LEFT_OUT) - _TOLD
"""Of these, those that draw in eval mode too."""
REORDERS = frozenset({"sort", "argsort", "index_select"})
"""Along the axis of the examples, these put them in another order."""
PICKS = REORDERS | frozenset((
    "getitem", "gather", "take", "take_along_dim", "masked_select", "nonzero", "argwhere", "unique", "topk", "flip", "flipud", "roll",
    "index_add", "index_put", "scatter", "scatter_add", "scatter_reduce",
))
"""These may give rows that were picked by numbers, or in another order."""
TELLS = frozenset(("__bool__", "__float__", "__int__", "__index__", "item", "tolist", "numpy", "equal", "allclose", "is_nonzero"))
"""These tell Python a computed number, by which a network may run other layers."""

SCORES = PRODUCTS - {"mv", "dot", "inner"} | {"baddbmm"}
"""Products that may compare queries with keys."""
_FORM = frozenset(["view", "reshape", "unflatten", "flatten", "unsqueeze", "squeeze", "expand", "reshape_as", "view_as", "getitem"])
KEEPS_SCORES = _FORM | named("factor", "sum", "choice", "cast", "dropout", "extreme") | {"clamp", "clip", "tanh", "nan_to_num"}
"""What may lie between a product of queries and keys and its softmax: scale, mask, bias, form."""
SIFTS = frozenset(["topk", "sort", "gather", "take_along_dim", "index_select", "scatter", "index_put", "masked_select"])
"""What picks some scores, or puts them elsewhere, as attention to the best few does."""
KEEPS_PATTERN = _FORM | named("cast", "dropout", "choice", "factor") | {"nan_to_num"}
"""What may lie between a softmax and the product with the values."""
RESCALES = named("choice", "factor") | {"nan_to_num"}
"""Those of them that may change a pattern's numbers."""
MIXES = named("weights", "sum") | {"neg", "cat", "stack"}
"""What mixes the patterns of several heads, as talking heads or differential attention do."""
DIVIDES = frozenset(["div", "divide", "true_divide", "rdiv"])
TURNS = frozenset(["permute", "transpose", "swapaxes", "movedim", "mT", "mH", "T", "t"])
"""Axes change places, and nothing else."""
FORM = _FORM | (TURNS - {"t"}) | {"contiguous"}
"""Only the form changes."""
FORWARDED = FORM | named("dropout", "cast") | {"mul", "roll"}
"""What may lie between a layer's answer and the residual sum that it goes into: dropout, a scale, form."""

RECURRENT = frozenset({
    "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "quantized_lstm", "quantized_gru",
})
"""Kernels that read a sequence place by place, or one place of it."""

_SECOND = ("conv", "max_pool", "avg_pool", "lp_pool", "adaptive_", "batch_norm", "group_norm", "instance_norm",
           "fractional_max_pool", "pixel_", "interpolate", "upsample", "local_response_norm", "prelu")
_LAST = frozenset({"linear", "layer_norm", "rms_norm", "embedding", "embedding_bag", "multi_head_attention_forward", "addmm",
                   "lstm", "gru", "rnn_tanh", "rnn_relu"})


def unit_axis(name: str, ndim: int) -> int | None:
    """Which axis of a result (the example's is 0) counts the units, where the op says it."""
    plain = name.removesuffix("_")
    if plain in _LAST:
        return ndim - 1
    if plain.startswith(_SECOND) and ndim >= 2:
        return 1
    return None


def draws(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an op draws random numbers as it is called: dropout does so in eval mode too where it is told that it trains."""
    bare = name.removesuffix("_")
    if bare in _LEFT_OUT:
        place = 3 if bare == "rrelu" else 2
        usual = bare not in ("alpha_dropout", "feature_alpha_dropout", "rrelu")
        return bool(kwargs.get("training", kwargs.get("train", args[place] if len(args) > place else usual)))
    if bare == "scaled_dot_product_attention":
        return bool(kwargs.get("dropout_p", args[4] if len(args) > 4 else 0))
    return name in NOISE


def axis_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """The axis over which a softmax or the like runs, from its second argument."""
    axis = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    return int(axis) if isinstance(axis, int) else None


_RESULT = re.compile(r"\.\d+$")


def plain(name: str) -> str:
    """An op's name without the number of one of its results."""
    return _RESULT.sub("", name)


def rectifies(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an op is a ReLU, however it is called."""
    return rectifier(name, None, args, kwargs) is not None


def rectifier(
    name: str, func: Callable[..., Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, float | None, bool] | None:
    """The input of a ReLU, the highest value that it lets through, and whether it writes in place; None for others."""
    plain = name.removesuffix("_")
    x = args[0] if args else kwargs.get("input")
    if plain not in _BOUNDS or not isinstance(x, Tensor) or not x.is_floating_point():
        return None
    bounds = _BOUNDS[plain](args[1:], kwargs)
    if bounds is None or bounds[0] != 0:
        return None
    place = _INPLACE.get(plain, len(args))
    return x, bounds[1], name.endswith("_") or bool(kwargs.get("inplace", place < len(args) and args[place]))


Bounds = tuple[Any, Any] | None


def _threshold(rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Bounds:
    """A threshold at zero that puts zero in its place is a ReLU."""
    given = {**dict(zip(("threshold", "value"), rest, strict=False)), **kwargs}
    return (0, None) if given.get("threshold") == 0 and given.get("value") == 0 else None


def _clamp(rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Bounds:
    """A clamp from zero up, perhaps to a highest value."""
    given = {**dict(zip(("min", "max"), rest, strict=False)), **kwargs}
    if isinstance(given.get("min"), Tensor) or isinstance(given.get("max"), Tensor):
        return None
    return given.get("min"), given.get("max")


def _hardtanh(rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Bounds:
    """A hardtanh between zero and a highest value is a ReLU6."""
    given = {"min_val": -1.0, "max_val": 1.0, **dict(zip(("min_val", "max_val"), rest, strict=False)), **kwargs}
    return given["min_val"], given["max_val"]


def _maximum(rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Bounds:
    """The maximum with a tensor of zeros."""
    other = rest[0] if len(rest) == 1 else kwargs.get("other")
    scalar = isinstance(other, Tensor) and other.ndim == 0 and not other.requires_grad
    return (float(other), None) if scalar else None  # type: ignore[arg-type]


_INPLACE = {"relu": 1, "relu6": 1, "hardtanh": 3, "threshold": 3}
"""Which argument says that it writes in place."""
_BOUNDS: dict[str, Callable[[tuple[Any, ...], dict[str, Any]], Bounds]] = {
    "relu": lambda rest, kwargs: (0, None),
    "relu6": lambda rest, kwargs: (0, 6),
    "threshold": _threshold,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp,
    "hardtanh": _hardtanh,
    "maximum": _maximum,
}
