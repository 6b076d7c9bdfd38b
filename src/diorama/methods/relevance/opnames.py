"""What each op of torch does to relevance, by name."""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


PASSED = _names(
    """relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish tanh sigmoid hardtanh hardswish hardsigmoid
    softplus softsign softshrink hardshrink tanhshrink threshold logsigmoid log_sigmoid log_softmax clamp clamp_min
    clamp_max clip abs neg exp expm1 log log1p log2 log10 sqrt rsqrt square reciprocal sin cos atan erf pow sign
    local_response_norm normalize nan_to_num"""
)
"""One result for each number: unchanged."""

GATES = frozenset({"sigmoid", "hardsigmoid", "rsqrt", "reciprocal"})
"""Results that weigh others: in a product with one of them, the other factor takes all."""

SHARED = _names(
    """avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d mean sum nanmean
    interpolate upsample grid_sample fold cumsum diff"""
)
"""Linear without weights of their own: in proportion to what each number contributes."""

MOVED = _names(
    """view view_as reshape reshape_as flatten unflatten squeeze unsqueeze permute transpose t T mT H mH movedim moveaxis
    swapaxes swapdims contiguous clone to type_as float double half bfloat16 cpu cuda type expand expand_as repeat
    repeat_interleave tile broadcast_to broadcast_tensors cat concat concatenate stack hstack vstack dstack chunk split
    split_with_sizes tensor_split unbind getitem setitem narrow select index_select gather take take_along_dim
    masked_select masked_fill masked_scatter where scatter index_put index_copy index_fill copy flip fliplr flipud roll
    rot90 pad diagonal diag triu tril unfold pixel_shuffle pixel_unshuffle channel_shuffle ravel atleast_1d atleast_2d
    atleast_3d as_strided max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
    max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d_with_indices
    adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices fractional_max_pool2d max min amax amin maximum
    minimum topk sort median kthvalue dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout
    feature_dropout native_dropout identity zero zeros_like fill meshgrid align_to_dims requires_grad retain_grad
    register_hook detach data real positive set_ resize_as alias block_diag hsplit vsplit dsplit squeeze_copy
    _pack_padded_sequence _pad_packed_sequence conj resolve_conj resolve_neg"""
)
"""Ops that only choose, copy or move numbers: relevance follows them, as a gradient does."""

NORMALIZED = frozenset({"layer_norm", "group_norm", "instance_norm", "rms_norm"})
SOFTMAX = frozenset({"softmax"})
PRODUCTS = frozenset({"matmul", "mm", "bmm", "mv", "dot", "inner", "einsum"})
LINEAR = _names(
    """linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d add sub subtract rsub neg addmm
    batch_norm native_batch_norm"""
)
"""Linear where their weights are constants."""
