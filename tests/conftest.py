import mmap
import os
import pathlib

import jax
import jaxlib
import pytest

pytest.register_assert_rewrite("helpers")  # otherwise `python -O` removes its asserts
if "JAX_ENABLE_X64" not in os.environ:
    jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 8)  # for the tests of several devices

# The suite spends most of its time compiling small programs that run once. These flags switch off
# optimisation, and select older emitters of fused loops and one LLVM module per program. A third of
# the compile time remains.
XLA_FLAGS = {
    "xla_backend_optimization_level": "0",
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": "1",
}


def known(flags):
    """The flags that this jaxlib has. XLA ends the process at an unknown flag."""
    for path in pathlib.Path(jaxlib.__file__).parent.glob("*jax_common*"):
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return [flag for flag in flags if text.find(f"\0{flag}\0".encode()) >= 0]
    return []


# XLA reads them at the first compilation. Flags from outside come last, so they win.
ours = [f"--{flag}={XLA_FLAGS[flag]}" for flag in known(XLA_FLAGS)]
os.environ["XLA_FLAGS"] = " ".join([*ours, os.environ.get("XLA_FLAGS", "")])


@pytest.fixture(autouse=True, scope="module")
def _free_memory():
    """Forgets compiled programs if they take gigabytes."""
    yield
    statm = pathlib.Path("/proc/self/statm")  # on Linux
    pages = int(statm.read_text().split()[1]) if statm.exists() else 0
    if pages * mmap.PAGESIZE > 4e9:
        jax.clear_caches()
