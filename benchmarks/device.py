"""The device that the benchmarks run on."""

import argparse
import os
import platform
from pathlib import Path

import jax
from peers import num_cores


def add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--platform", choices=["cpu", "cuda"], default="cpu")


def use(chosen: str) -> None:
    """Selects the platform, before JAX runs anything."""
    jax.config.update("jax_platforms", chosen)
    if chosen != "cpu":
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch needs memory, too


def describe() -> str:
    """The device, the number of cores and the load of the machine, and the version of JAX."""
    load = f"load {os.getloadavg()[0]:.1f}, " if hasattr(os, "getloadavg") else ""
    return f"{name()}, {num_cores()} cores, {load}jax {jax.__version__}"


def name() -> str:
    """The name of the processor or of the GPU."""
    if jax.default_backend() != "cpu":
        return jax.devices()[0].device_kind
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((s.split(":", 1)[1].strip() for s in lines if s.startswith("model name")), "")


def has_torch() -> bool:
    """Whether torch runs on the platform."""
    import torch

    return jax.default_backend() == "cpu" or torch.cuda.is_available()
