"""A plain function as a model: a black box that only answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import UsageError

ONLY_ANSWERS = "the model is a plain function, which has no inside to look into"


class FunctionModule(nn.Module):
    """A plain function as a module, for whatever only asks it for answers."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function; arrays that it returns become tensors."""
        output = self.function(*args, **kwargs)
        return output if isinstance(output, Tensor | tuple | dict) else torch.as_tensor(output)


def of_function(model: Any) -> nn.Module:
    """A function from inputs to scores as a model. *Raises* UsageError for what cannot be called."""
    if not callable(model):
        way = next((name for name in ("predict_proba", "decision_function", "predict") if hasattr(model, name)), "")
        hint = f"; pass its function: model.{way}" if way else ""
        raise UsageError(f"a model is a torch.nn.Module or a function, got {type(model).__name__}{hint}")
    return FunctionModule(model).eval()
