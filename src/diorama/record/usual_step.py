"""What a loop calls at most of its steps: those at which nothing is done but to write down what it tells."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .lines import EXACT, LIMIT, MANY, Names, StepLines
from .step import BEGAN

if TYPE_CHECKING:
    from .recorder import Recorder


def usual_step(recorder: Recorder, lines: StepLines, otherwise: Callable[..., None]) -> Callable[..., None]:
    """``step`` as a loop calls it: what most steps want in one function of bound names, and ``otherwise`` for all others.

    *Meaning* what is not a usual step is found out before anything is done, so that ``otherwise`` begins from the start.
    *Cost* of a usual step some two to six microseconds less than the same in methods that call each other: after half a millisecond of training
    nothing of them is in the processor's caches any more.
    """
    rounds, passes = recorder._rounds, recorder._passes
    steps, group, waits = lines.waiting
    put, rates = steps.append, [(optimizer, place) for _, optimizer, place in lines.rates]
    told: Names | None = None
    names: Names | None = None
    room = 0

    @functools.wraps(otherwise)
    def step(**scalars: Any) -> None:
        nonlocal told, names, room
        try:
            number = recorder.number + 1
            if (
                recorder._lines is lines and number < recorder._rest and (now := time.monotonic()) < rounds.until and not passes and not waits
                and len(steps) < room and tuple(scalars) == told
            ):
                line: list[Any] = [number, BEGAN + now, names]
                for value in scalars.values():
                    plain = value.tolist() if type(value) is Tensor else value  # one that is at hand, as those of the same name were lately
                    if type(plain) is not float:
                        if type(plain) is not int or abs(plain) > EXACT:
                            break
                        plain = float(plain)
                    line.append(plain)
                else:
                    for optimizer, place in rates:
                        rate = optimizer.param_groups[place]["lr"]
                        line.append(rate if type(rate) is float else float(rate))
                    put(tuple(line))
                    recorder.number = number
                    return
        except Exception:  # noqa: BLE001, S110 - what is odd is met again, and told, in the whole step
            pass
        otherwise(recorder, **scalars)
        told = None
        try:
            names, room = lines.names(tuple(scalars)), min(MANY, LIMIT - len(group))
            if names is not None and not any(isinstance(value, Tensor) and (value.ndim or not value.is_cpu) for value in scalars.values()):
                told = tuple(scalars)
        except Exception:  # noqa: BLE001, S110 - then the next step is a whole one, too
            pass

    return step


def offer(recorder: Recorder, lines: StepLines | None, whole: Callable[..., None]) -> None:
    """Have a loop call what is right for most of its steps in place of the ``whole`` step, as long as lines are made of them."""
    if lines is not None and lines is recorder._lines:
        return
    recorder._lines = lines
    vars(recorder).pop("step", None)
    if lines is not None and type(recorder).step is whole:
        vars(recorder)["step"] = usual_step(recorder, lines, whole)
