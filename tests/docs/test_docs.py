"""The documents name what there is, and their examples load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import windrow
from windrow.job import load_job

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = ("run", "status", "monitor", "retry", "check", "export", "init", "demo")


def code_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_every_public_name_is_documented() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in windrow.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_every_public_name_is_there() -> None:
    assert [name for name in windrow.__all__ if not hasattr(windrow, name)] == []


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [command for command in COMMANDS if f"`windrow {command}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_compile_and_jobs_load(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(code_blocks(page)):
        compile(block, f"{page.name}, block {number}", "exec")
        if "@job.scrape" in block:
            file = tmp_path / f"example_{number}.py"
            file.write_text(block, encoding="utf-8")
            assert load_job(str(file)).function is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
