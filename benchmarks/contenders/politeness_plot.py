"""Draws what `politeness` measured: standard input holds JSON, as its `drawing` makes it.

python -m benchmarks.contenders.politeness_plot FILE.png
"""
# matplotlib is not installed where this is type-checked.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot

GOOD, REFUSED, LIMIT = "#2f7d4f", "#c0392b", "#222222"
COLOURS = (GOOD, "#6f7a84", "#a9b2ba", "#b9770e", "#e0b25c")

KINDS = {
    "refused": "Requests that were refused, % (less is better)",
    "use": "Good answers after the first quarter, % of the limit (more is better)",
}


def main() -> None:
    """Draw what standard input says."""
    shown = json.load(sys.stdin)
    mpl.use("agg")
    sites = list(dict.fromkeys(course["site"] for course in shown["courses"]))
    figure = pyplot.figure(figsize=(12, 2.2 * len(sites) + 6.4), layout="constrained")
    grid = figure.add_gridspec(len(sites) + 2, 1, height_ratios=[1.0] * len(sites) + [1.4, 1.4])
    for place, site in enumerate(sites):
        courses = [course for course in shown["courses"] if course["site"] == site]
        row = grid[place].subgridspec(1, len(courses))
        draw_courses([figure.add_subplot(row[number]) for number in range(len(courses))], courses)
    for place, (kind, heading) in enumerate(KINDS.items(), len(sites)):
        draw_bars(figure.add_subplot(grid[place]), shown["sites"], shown["contenders"], kind, heading)
    figure.savefig(sys.argv[1], dpi=110)


def draw_courses(places: list[Any], courses: list[dict[str, Any]]) -> None:
    """One site: the answers of each second, side by side on one scale."""
    top = 1.08 * max(
        max(good + refused for good, refused in zip(course["good"], course["refused"], strict=True))
        for course in courses
    )
    for axes, course in zip(places, courses, strict=True):
        seconds = range(len(course["good"]))
        axes.bar(seconds, course["good"], width=1.0, align="edge", color=GOOD, label="good")
        axes.bar(
            seconds, course["refused"], bottom=course["good"], width=1.0, align="edge", color=REFUSED, label="refused"
        )
        axes.step([*seconds, len(seconds)], [*course["limit"], course["limit"][-1]], where="post", color=LIMIT, lw=1.2)
        axes.set_ylim(0, max(top, 1.08 * max(course["limit"])))
        axes.set_xlim(0, len(seconds))
        axes.set_title(f"{course['site']}: {course['name']}", fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    places[0].set_ylabel("answers per second", fontsize=8)
    places[0].legend(
        handles=[
            mpl.patches.Patch(color=GOOD, label="good"),
            mpl.patches.Patch(color=REFUSED, label="refused"),
            mpl.lines.Line2D([], [], color=LIMIT, lw=1.2, label="limit"),
        ],
        fontsize=7,
        loc="best",
        framealpha=0.8,
    )


def draw_bars(axes: Any, sites: list[str], lines: list[dict[str, Any]], kind: str, heading: str) -> None:
    """One of each contender's shares at each site, in per cent."""
    width = 0.86 / len(lines)
    for number, line in enumerate(lines):
        places = [site + (number - (len(lines) - 1) / 2) * width for site in range(len(sites))]
        shares = [100 * (share or 0.0) for share in line[kind]]
        bars = axes.bar(places, shares, width=width, color=COLOURS[number % len(COLOURS)], label=line["name"])
        texts = ["–" if share is None else f"{100 * share:.3g}" for share in line[kind]]
        axes.bar_label(bars, labels=texts, fontsize=6.5, padding=1)
    axes.set_xticks(range(len(sites)), [_folded(site) for site in sites], fontsize=8)
    axes.set_xlim(-0.5, len(sites) - 0.5)
    axes.set_ylim(0, 126)
    axes.set_yticks(range(0, 101, 20))
    axes.set_title(heading, fontsize=9, loc="left")
    axes.tick_params(axis="y", labelsize=7)
    axes.legend(fontsize=7, loc="upper right", ncols=len(lines), framealpha=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def _folded(text: str) -> str:
    words = text.split()
    half = (len(words) + 1) // 2
    return "\n".join((" ".join(words[:half]), " ".join(words[half:]))) if len(words) > 2 else text


if __name__ == "__main__":
    main()
