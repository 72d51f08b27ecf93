"""Draws horizontal bars: standard input holds JSON, a list of {"name", "value", "ours"}.

python -m benchmarks.contenders.bar_chart FILE.png TITLE
"""
# matplotlib is not installed where this is type-checked.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import json
import sys

import matplotlib as mpl
from matplotlib import pyplot

OURS, THEIRS = "#2f7d4f", "#9aa3ab"


def main() -> None:
    """Draw what standard input says."""
    target, title = sys.argv[1:]
    bars = json.load(sys.stdin)
    mpl.use("agg")
    figure, axes = pyplot.subplots(figsize=(8.4, 0.5 * len(bars) + 1.1), layout="constrained")
    names, values = [bar["name"] for bar in bars], [bar["value"] for bar in bars]
    drawn = axes.barh(names, values, color=[OURS if bar["ours"] else THEIRS for bar in bars], height=0.7)
    axes.bar_label(drawn, fmt="%.2f", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlim(0, max(values) * 1.1)
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=130)


if __name__ == "__main__":
    main()
