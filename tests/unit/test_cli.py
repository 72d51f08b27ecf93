"""The command line: what may be typed, what mistakes are answered, exit codes, and what commands print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.stores import NOW, FilledStore, filled_store
from windrow.cli.checking import Teller
from windrow.cli.entry import command_line
from windrow.cli.scaffold import job_name
from windrow.events import PartitionStarted, RecordInvalid, RecordMade, RequestDone, Verdict
from windrow.job import BUILT_IN, load_job
from windrow.records import record_type

CONTRACT = {
    "run": "--store --engine --sessions --workers --set --delay --rate --only --limit --fresh --ignore-robots --quiet",
    "status": "--json",
    "monitor": "",
    "retry": "--store",
    "export": "-o",
    "check": "",
    "init": "--from",
    "demo": "",
}
"""Commands and options of DESIGN.md, section 5: scripts rely on them."""


def typed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    code = command_line([str(each) for each in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FilledStore]:
    with filled_store(tmp_path / "people.db") as filled:
        yield filled


# --- help -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_every_command(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> None:
    code, out, err = typed(capsys, *arguments)
    assert (code, err) == (0, "")
    listed = re.findall(r"^  (\w+)  ", out.split("Commands:")[1], re.MULTILINE)
    assert set(listed) == set(CONTRACT)
    assert "--version" in out


@pytest.mark.parametrize("command", CONTRACT)
def test_help_of_a_command_names_its_options_and_shows_an_example(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, out, err = typed(capsys, command, "--help")
    assert (code, err) == (0, "")
    for option in CONTRACT[command].split():
        assert re.search(rf"^  (-\w, )?{option}\b", out, re.MULTILINE), f"{option} is not explained"
    assert f"\n    windrow {command} " in out
    assert max(len(line) for line in out.splitlines()) <= 100


def test_every_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for command in CONTRACT:
        _, out, _ = typed(capsys, command, "--help")
        for line in out.split("Options:")[1].split("Example")[0].splitlines():
            assert not re.fullmatch(r"  -\S+( \S+)?", line) or _next_line(out, line).startswith("     "), line


def _next_line(text: str, line: str) -> str:
    lines = text.splitlines()
    return lines[lines.index(line) + 1]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = typed(capsys, "--version")
    assert code == 0
    assert re.fullmatch(r"windrow \d+\.\d+\S*\n", out)


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("run", "Missing argument 'JOB'"),
        ("nope", "No such command 'nope'"),
        ("--nope", "No such option"),
        ("run job.py --nope", "No such option: --nope"),
        ("run job.py --sessions 0", "'--sessions': '0' is neither a number from 1 up nor auto"),
        ("run job.py --sessions many", "'--sessions'"),
        ("run job.py --workers -1", "'--workers': -1 is less than 1"),
        ("run job.py --limit 0", "'--limit': 0 is less than 1"),
        ("run job.py --delay -0.5", "'--delay': -0.5 is no number from 0 up"),
        ("run job.py --delay nan", "'--delay': nan is no number from 0 up"),
        ("run job.py --rate -1", "'--rate': -1 is no number from 0 up"),
        ("run job.py --rate inf", "'--rate': inf is no number from 0 up"),
        ("run job.py --rate fast", "'--rate'"),
        ("run job.py --set base_url", "--set base_url: needs NAME=VALUE"),
        ("run job.py --set =x", "--set =x: needs NAME=VALUE"),
        ("run job.py --engine magic", "'magic' is not one of 'processes', 'threads', 'sequential'"),
        ("check job.py", "Missing argument 'KEY'"),
        ("status", "Missing argument 'STORE'"),
        ("status nowhere.db", "nowhere.db: no such store"),
        ("monitor nowhere.db", "nowhere.db: no such store"),
        ("export nowhere.db -o out.csv", "nowhere.db: no such store"),
        ("export nowhere.db -o out.xlsx", "must end in .csv, .jsonl, .parquet"),
        ("export nowhere.db", "Missing option '--output' / '-o'"),
        ("status redis://localhost/0", "stores of the kind 'redis' are not supported"),
        ("run nowhere.py", "nowhere.py: no such file"),
        ("check nowhere.py a", "nowhere.py: no such file"),
        ("retry nowhere.py", "nowhere.py: no such file"),
        ("init shops --from nope", "there are annuaire"),
        ("demo nope", "there are annuaire"),
    ],
)
def test_a_mistake_is_answered_by_one_clear_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: str,
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = typed(capsys, *arguments.split())
    assert (code, out) == (2, "")
    assert err.startswith("windrow: ")
    assert expected in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_comes_only_where_it_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WINDROW_DEBUG", raising=False)
    assert "Traceback" not in typed(capsys, "status", "nowhere.db")[2]
    code, _, err = typed(capsys, "status", "nowhere.db", "--debug")
    assert (code, "Traceback" in err) == (2, True)
    monkeypatch.setenv("WINDROW_DEBUG", "1")
    assert "Traceback" in typed(capsys, "status", "nowhere.db")[2]


# --- status, monitor, export ----------------------------------------------------------------------------------------


def test_status_tells_how_a_run_stands_and_succeeds_when_it_could(
    store: FilledStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run = store.run(state="finished", finished=NOW, records=3, missing=2)
    store.partition(run, "ma", "failed", reason="the site did not answer")
    code, out, err = typed(capsys, "status", store.path)
    assert (code, err) == (0, "")
    assert "not complete: people, run 1, 1 partition failed and 2 records missing" in out
    assert "failed 'ma': the site did not answer" in out
    assert f"windrow retry people.py --store {store.path}" in out


def test_status_as_json_is_one_object(store: FilledStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.partition(store.run(records=3), "ma", "done", reported=4)
    code, out, _ = typed(capsys, "status", f"sqlite:///{store.path}", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["job"], told["state"], told["records"], told["reported"]) == ("people", "interrupted", 3, 4)
    assert told["partitions"]["total"] == 1


@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["monitor"]])
def test_a_store_without_a_run_cannot_be_answered(
    store: FilledStore, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    code, out, err = typed(capsys, *arguments, store.path)
    assert (code, out) == (2, "")
    assert "no run in this store yet" in err


def test_monitor_shows_a_finished_run_once(store: FilledStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.run(state="finished", finished=NOW)
    code, out, _ = typed(capsys, "monitor", store.path)
    assert code == 0
    assert out.count("finished") == 1


def test_export_says_how_many_records_went_where(
    store: FilledStore, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store.run()
    store.records(record_type(None, "id"), [{"id": "=1"}])
    code, out, _ = typed(capsys, "export", store.path, "-o", tmp_path / "a.csv")
    assert (code, out) == (0, f"1 record in {tmp_path / 'a.csv'}\n")
    assert "'=1" in (tmp_path / "a.csv").read_text()
    typed(capsys, "export", store.path, "--output", tmp_path / "b.csv", "--raw", "--table", "people")
    assert "'" not in (tmp_path / "b.csv").read_text()


# --- init -----------------------------------------------------------------------------------------------------------


def test_init_makes_a_job_that_loads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = typed(capsys, "init", "shops")
    assert code == 0
    assert "windrow check shops/job.py travel_2" in out
    job = load_job("shops/job.py")
    assert (job.name, job.source().find("travel_2") is not None) == ("shops", True)
    assert "windrow run shops/job.py" in (tmp_path / "shops" / "README.md").read_text()


@pytest.mark.parametrize("origin", sorted(BUILT_IN))
def test_init_from_a_built_in_job_copies_its_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origin: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = typed(capsys, "init", "mine", "--from", origin)
    assert (code, err) == (0, "")
    assert load_job("mine/job.py").name == load_job(origin).name


def test_init_overwrites_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "job.py").write_text("mine")
    (tmp_path / "file").write_text("mine")
    assert typed(capsys, "init", "empty")[0] == 0
    assert typed(capsys, "init", "used")[::2] == (
        2,
        "windrow: used: is not empty, and nothing in it is overwritten; give another name\n",
    )
    assert "is a file" in typed(capsys, "init", "file")[2]
    assert (tmp_path / "used" / "job.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("shops", "shops"),
        ("my-shops 2", "my_shops_2"),
        ("2shops", "job_2shops"),
        ("windrow-x", "job_windrow_x"),
        ("é", "job"),
        ("x" * 90, "x" * 50),
    ],
)
def test_any_folder_gives_a_job_a_name(folder: str, name: str) -> None:
    assert job_name(Path(folder)) == name


# --- check, run and retry, against a real site ----------------------------------------------------------------------

LISTED = '<form class="form-horizontal"><strong>{count}</strong></form>{items}'
ITEM = '<article class="product_pod"><h3><a href="../../../{key}/index.html">a book</a></h3></article>'
BOOK = """<div class="product_main"><h1>{key}</h1><p class="price_color">£12.50</p>
<p class="availability">In stock (3)</p></div><table class="table"><tr><th>UPC</th><td>u</td></tr></table>"""


class Shop(BaseHTTPRequestHandler):
    """The shop of the example job: two books in each category, of which `classics_6` says that it has three."""

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        if parts[:3] == ["catalogue", "category", "books"]:
            items = "".join(ITEM.format(key=f"{parts[3]}-{number}") for number in range(2))
            self._answer(200, LISTED.format(count=3 if parts[3] == "classics_6" else 2, items=items))
        elif parts[0] == "catalogue" and parts[1].startswith("philosophy"):
            self._answer(404, "gone")
        elif parts[0] == "catalogue":
            self._answer(200, BOOK.format(key=parts[1]))
        else:
            self._answer(404, "")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def shop() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.fixture
def options(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """The example job in `shops/job.py`, and the options that lead it to a shop on this machine."""
    monkeypatch.chdir(tmp_path)
    typed(capsys, "init", "shops")
    with shop() as url:
        yield ["--set", f"base_url={url}", "--delay", "0"]


@pytest.mark.parametrize(
    ("key", "code", "expected"),
    [
        ("travel_2", 0, "it would be done\n"),
        ("classics_6", 3, "the site reports 3, 2 were found"),
        ("philosophy_7", 1, "it would be failed: "),
        ("nope", 2, "there is no partition 'nope'"),
    ],
)
def test_check_tells_how_one_partition_would_end_and_stores_nothing(
    capsys: pytest.CaptureFixture[str], options: list[str], tmp_path: Path, key: str, code: int, expected: str
) -> None:
    found, out, err = typed(capsys, "check", "shops/job.py", key, *options)
    assert found == code, out + err
    assert expected in out + err
    assert not list(tmp_path.glob("*.db*"))


def test_run_and_retry_end_with_a_report_and_its_exit_code(
    capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    one_by_one = [*options, "--engine", "sequential"]
    code, out, err = typed(capsys, "run", "shops/job.py", *one_by_one, "--only", "travel_2")
    assert code == 0, out + err
    assert out.startswith("complete: shops, run 1\n")
    assert "2 records (reported 2), 0 missing, 0 invalid" in out
    assert "shops run 1: 1/1 (100 %) partitions, 2 records" in err
    code, out, err = typed(capsys, "run", "shops/job.py", *one_by_one, "--only", "classics_6", "--quiet")
    assert (code, err) == (3, "")
    assert "incomplete 'classics_6' (1 missing): the site reports 3, 2 were found" in out
    code, out, err = typed(capsys, "retry", "shops/job.py", "classics_6", *one_by_one, "--quiet")
    assert (code, err) == (3, "")
    code, _, err = typed(capsys, "retry", "shops/job.py", "travel_2", *one_by_one, "--quiet")
    assert code == 2
    assert err.startswith("windrow: ")


def test_check_lists_requests_fill_and_children() -> None:
    said: list[str] = []
    teller = Teller(said.append)
    teller(PartitionStarted("ma\x1b", 1))
    teller(RequestDone("ma", "GET", "http://x/\x1b[2J", 200, Verdict.OK, 0.0123, 4_500))
    teller(RequestDone("ma", "GET", "http://x/b", None, Verdict.TRANSIENT, 0.5, 0, "time-out", retry=2))
    teller(RecordMade("ma", {"id": "1", "name": None}))
    teller(RecordMade("ma", {"id": "2", "name": "Zoé\nX"}))
    teller(RecordInvalid("ma", "name: too long", "{}"))
    teller.conclude("split", None, 200, [f"ma{number}" for number in range(25)])
    assert said == [
        "partition 'ma\ufffd'",
        "  ok        200   4.5 kB     12 ms  GET http://x/\ufffd[2J",
        "  transient ---      0 B    500 ms  GET http://x/b  (retry 2)  time-out",
        "  invalid record: name: too long",
        "",
        "2 records; how many have a value, and an example:",
        "  id    2 of 2  1",
        "  name  1 of 2  Zoé X",
        "1 invalid record, kept apart in a run",
        "2 requests; the site reports 200",
        "it would be split",
        "it would split into 25 partitions: " + ", ".join(f"'ma{number}'" for number in range(20)) + " and 5 more",
        "nothing was stored",
    ]


# --- the process ----------------------------------------------------------------------------------------------------


def test_a_reader_that_has_gone_is_no_matter(store: FilledStore) -> None:
    store.run()
    here, there = os.pipe()
    os.close(here)
    done = subprocess.run(
        [sys.executable, "-m", "windrow", "status", str(store.path)], stdout=there, stderr=subprocess.PIPE, check=False
    )
    os.close(there)
    assert (done.returncode, done.stderr) == (141, b"")


def test_text_that_does_not_fit_the_terminals_encoding_is_shown_as_well_as_can_be(store: FilledStore) -> None:
    store.partition(store.run(state="finished", finished=NOW), "é", "failed", reason="日本")
    command = [sys.executable, "-m", "windrow", "status", str(store.path)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"failed '?': ??" in done.stdout


def test_help_needs_neither_the_database_library_nor_the_screen_library() -> None:
    code = (
        "import sys; from windrow.cli.entry import command_line; command_line(['--help']); print(sorted(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = out.splitlines()[-1]
    assert "'sqlalchemy'" not in loaded
    assert "'rich.live'" not in loaded
