"""A device that is not the CPU, on any machine: a pytest plugin that puts the laws' networks and inputs there.

``pytest -p accelerator tests/laws/…`` builds the stand-in once (a C++ compiler is needed) and runs the laws on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import tempfile
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.cpp_extension import include_paths

SOURCE = Path(__file__).with_name("accelerator.cpp")
NAME = "accel"
ELSEWHERE = ("parallel", "compiled")
"""Specimens that choose their devices themselves."""


def built() -> Path:
    """The compiled stand-in, made when it is not there yet for this source and this torch."""
    about = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"diorama-accelerator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{about}.so"
    if not library.exists():
        where = Path(torch.__file__).parent / "lib"
        beside = library.with_suffix(f".{os.getpid()}")
        includes = [f"-I{path}" for path in include_paths()]
        abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
        line = ["g++", "-std=c++20", "-shared", "-fPIC", "-O0", "-w", abi, *includes, str(SOURCE), "-o", str(beside)]
        subprocess.run([*line, f"-L{where}", "-ltorch", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{where}"], check=True)
        beside.rename(library)
    return library


def start() -> None:
    """Let torch know the device; once in a process, and for its whole life."""
    torch.ops.load_library(str(built()))
    torch.utils.rename_privateuse1_backend(NAME)
    module: Any = types.ModuleType(f"torch.{NAME}")
    module.is_available = module.is_initialized = lambda: True
    module._is_in_bad_fork = lambda: False
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module.set_device = module.synchronize = module.manual_seed_all = module._lazy_init = lambda *_: None
    module.get_rng_state = lambda *_: torch.get_rng_state()
    module.set_rng_state = lambda *_: None
    module.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
    module.device = lambda *_: contextlib.nullcontext()
    torch._register_device_module(NAME, module)
    torch.utils.generate_methods_for_privateuse1_backend(for_storage=True)


def there(x: Any) -> Any:
    """An input, and labels, on the device."""
    from diorama.data import nesting

    return None if x is None else nesting.each(x, lambda part: part.to(NAME))


def pytest_configure(config: pytest.Config) -> None:
    """From now on there is such a device, and the zoo lives on it."""
    import zoo

    # Torch's own way of asking the CPU instead hands a loss an output of the wrong shape, and says so.
    config.addinivalue_line("filterwarnings", "ignore:An output with one or more elements was resized:UserWarning")

    start()
    made = zoo.Specimen.__call__

    def moved(self: Any) -> Any:
        model, x = made(self)
        for module in model.modules():  # what a network keeps beside its buffers does not go with it by itself
            for name, value in vars(module).items():
                if isinstance(value, torch.Tensor):
                    setattr(module, name, value.to(NAME))
        return model.to(NAME), there(x)

    zoo.Specimen.__call__ = moved  # type: ignore[method-assign]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The networks of the views' laws live there too, with their examples and what is right; not those that choose their devices themselves."""
    apart = [item for item in items if any(word in item.name for word in ELSEWHERE)]
    config.hook.pytest_deselected(items=apart)
    items[:] = [item for item in items if item not in apart]
    module = next((item.module for item in items if item.module.__name__ == "test_views"), None)  # type: ignore[attr-defined]
    if module is not None:
        made = module._made

        def moved(kind: str) -> Any:
            model, x, y, told = made(kind)
            return model.to(NAME), there(x), there(y), told

        module._made = moved
