"""What `windrow init` writes: a folder with a job to begin with, and what to do next."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from windrow.errors import UsageError

JOB = '''\
"""Books of a practice shop, one partition per category.

Try one category:   windrow check {path} travel_2
Then all of them:   windrow run {path}
"""

import re

from pydantic import BaseModel

from windrow import Job, Pace, values


class Book(BaseModel):
    """What is kept of a book: the columns of the table."""

    book: str
    title: str
    price: float
    in_stock: bool
    upc: str | None = None
    description: str | None = None


job = Job(
    "{name}",  # also names the table of records, and the store: {name}.db
    record=Book,
    key="book",  # a record whose key is known is updated, never doubled
    base_url="https://books.toscrape.com",  # a shop made for practice; --set base_url=... leads elsewhere
    partitions=values(["travel_2", "mystery_3", "historical-fiction_4", "classics_6", "philosophy_7"]),
    sessions=2,  # partitions in progress at once, each with cookies and connections of its own
    pace=Pace(delay=1.0),  # seconds between two requests of one session
)


@job.scrape
async def scrape(session, partition):
    """All books of one category: the pages of its list, then each book."""
    # `expect` names what a real page holds. A page without it is a wall, whatever its status: it is tried again.
    page = await session.get(f"/catalogue/category/books/{{partition.key}}/index.html", expect="article.product_pod")
    # What the site says there is. The ledger compares: if fewer are found, the run says which partition lacks them.
    partition.reports(int(page.text("form.form-horizontal strong")))
    while True:
        links = [link.url() for link in page.css("article.product_pod h3 a")]
        # Books that this run has saved already are passed over: a run that was stopped goes on where it was.
        for url in await partition.unseen(links, key=key_of):
            yield book(await session.get(url, expect="div.product_main"))
        following = page.first("li.next a")
        if following is None:
            return
        page = await session.get(following.url(), expect="article.product_pod")


def key_of(url):
    """http://…/catalogue/a-book_12/index.html → a-book_12"""
    return url.rstrip("/").split("/")[-2]


def book(page):
    """A book's page as a record. What the page must hold is asked for without a default: its absence is an error."""
    facts = {{row.text("th"): row.text("td") for row in page.css("table.table tr")}}
    return Book(
        book=key_of(page.url),
        title=page.text("div.product_main h1"),
        price=float(re.sub(r"[^0-9.]", "", page.text("p.price_color"))),
        in_stock="in stock" in page.text("p.availability").lower(),
        upc=facts.get("UPC"),
        description=page.text("#product_description + p", default=None),
    )
'''

README = """\
# {title}

    windrow check {path} {key}      try one partition: every request and what came of it; nothing is stored
    windrow run {path}              all of them; stop it with Ctrl-C, the same command goes on
    windrow monitor {name}.db       watch it from a second terminal
    windrow status {name}.db        complete, or what is missing
    windrow retry {path}            the failed and incomplete ones again
    windrow export {name}.db -o {name}.csv

The job is in `job.py`: its record type, its partitions and the function that scrapes one of them.
`windrow run --help` says what can be set: `--sessions`, `--delay`, `--rate`, `--only`.
"""


def make(folder: Path, origin: str | None = None) -> Iterator[str]:
    """Write `folder`/job.py and README.md; the lines that say so and what to do next.

    `origin`: the built-in job to begin with; None for a small example. Raises UsageError for an unknown one, for a
    folder that is not empty, and where it cannot be written.
    """
    path = folder / "job.py"
    if origin is None:
        name, key = job_name(folder), "travel_2"
        source = JOB.format(name=name, path=path)
    else:
        source, name, key = _built_in(origin)
    _refuse_used(folder)
    files = {path: source, folder / "README.md": README.format(title=folder.name, name=name, path=path, key=key)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error
    yield from (f"made {file}" for file in files)
    yield f"try it: windrow check {path} {key}"


def job_name(folder: Path) -> str:
    """A job name made from the folder's: letters, digits and `_`, none that is reserved."""
    name = re.sub(r"\W+", "_", folder.resolve().name, flags=re.ASCII).strip("_")[:50]
    if not re.match(r"[A-Za-z]", name) or name.lower().startswith(("windrow", "sqlite")):
        return f"job_{name}".rstrip("_")
    return name


def _refuse_used(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give a folder that is not there yet")
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder}: is not empty, and nothing in it is overwritten; give another name")


def _built_in(origin: str) -> tuple[str, str, str]:
    """The source of a built-in job, its name, and the key of its first partition."""
    from windrow.job import BUILT_IN, load_job

    if origin not in BUILT_IN:
        raise UsageError(f"--from {origin}: there is no such built-in job; there are {', '.join(sorted(BUILT_IN))}")
    job = load_job(origin)
    found = importlib.util.find_spec(BUILT_IN[origin])
    if found is None or found.origin is None:
        raise UsageError(f"--from {origin}: its source is not installed")
    first = next(iter(job.source().plan()), None)
    return Path(found.origin).read_text(encoding="utf-8"), job.name, "KEY" if first is None else first.key
