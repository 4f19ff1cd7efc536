"""The distribution of ratios over many shapes.

python benchmarks/distribution.py benchmarks/results/speed-random-<seed>-<date>.json
"""

import json
import sys
from pathlib import Path

import numpy as np
from report import BETTER_HIGH, BETTER_LOW, Case

QUANTILES = [0, 5, 25, 50, 75, 95, 100]
NUMBER = 10  # of the worst cases


def distribution(cases: list[Case]) -> str:
    """For each quantity, the quantiles over cells and shapes, and the worst cases."""
    head = "".join(f"{f'{q} %':>7}" for q in QUANTILES)
    lines = [f"{'':<43}{'n':>4}{'mean':>7}{head}"]
    worst_lines = []
    for sign, picks in ((1, BETTER_HIGH), (-1, BETTER_LOW)):
        for label, pick in picks.items():
            found = [(*pick(case), case) for case in cases]
            found = [entry for entry in found if entry[0] is not None]
            if not found:
                continue
            ratios = np.array([ratio for ratio, *_ in found])
            mean = np.exp(np.log(ratios).mean())
            values = "".join(f"{np.percentile(ratios, q):>7.2f}" for q in QUANTILES)
            lines.append(f"{label:<43}{len(found):>4}{mean:>7.2f}{values}")
            worst_lines.append(f"{label}: the worst {NUMBER}")
            for ratio, name, case in sorted(found, key=lambda entry: sign * entry[0])[:NUMBER]:
                worst_lines.append(f"  {ratio:.2f}  {case.cell}, {case.shape}  {name}")
    return "\n".join([*lines, "", *worst_lines])


if __name__ == "__main__":
    results = json.loads(Path(sys.argv[1]).read_text())
    print(distribution([Case.read(case) for case in results["cases"]]))
