"""The shapes that are measured: known ones, and random ones that nothing was tuned to."""

import numpy as np
from peers import Shape

KNOWN = ["100,32,128,256", "784,64,1,128", "200,1,64,128", "50,128,256,512", "1000,8,32,64"]
KNOWN += ["50,16,512,1024", "300,16,40,96", "37,20,10,200"]
IMAGES = ["20,4,3,16,16x16", "10,8,8,32,24x24"]

RANGES = {"steps": (16, 1000), "batch": (1, 256), "input": (1, 512), "hidden": (16, 1024)}
LARGEST = 6_000_000  # values of the hidden state of all steps; an LSTM keeps five times as many
NUMBER = 30
QUICK_NUMBER = 6


def random_shapes(seed: int, number: int = NUMBER) -> list[Shape]:
    """Independent sizes, log-uniform within `RANGES`. Draws shapes above `LARGEST` again."""
    generator = np.random.default_rng(seed)
    shapes: list[Shape] = []
    while len(shapes) < number:
        logs = [generator.uniform(*np.log(bounds)) for bounds in RANGES.values()]
        shape = Shape(*(round(np.exp(value)) for value in logs))
        if shape.steps * shape.batch * shape.hidden <= LARGEST:
            shapes.append(shape)
    return shapes
