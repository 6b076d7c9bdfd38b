"""Names of weights."""

from __future__ import annotations

import torch

from diorama.data.fingerprint import fingerprint


def test_a_fingerprint_follows_every_bit() -> None:
    """Equal weights have equal names in any order; another value, sign of zero, type, shape or name gives another."""
    base = {"a": torch.zeros(2, 2), "b": torch.arange(3), "c": torch.tensor(1.0).bfloat16()}
    name = fingerprint(base)
    assert len(name) == 16
    assert fingerprint(dict(reversed(base.items()))) == name
    assert fingerprint({key: value.clone() for key, value in base.items()}) == name
    others = [torch.tensor([[0, 0], [0, 1e-30]]), -torch.zeros(2, 2), torch.zeros(4), torch.zeros(2, 2).double()]
    names = {fingerprint({**base, "a": other}) for other in others}
    assert len(names | {name, fingerprint({"d": base["a"], "b": base["b"], "c": base["c"]})}) == 6
