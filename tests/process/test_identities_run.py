"""Whole runs with identities: a login site that notices doubles, kills, walls, proxies, and secrets that are kept."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import windrow
from tests.support.members import MembersSite
from tests.support.proxies import HttpProxy, SocksProxy, nothing_listens

PASSWORDS = {"anna": "anna-password-secret", "ben": "ben-password-secret"}
JOB = """
from windrow import Job, Limits, Pace, identities, values

job = Job(
    "items", key="id", partitions=values([f"{n:02}" for n in range(PARTITIONS)]), base_url="URL", sessions=8, workers=2,
    pace=Pace(delay=0.0), rate=0, parameters={"people": "people.csv"},
    identities=lambda given: identities(given["people"]), limits=Limits(LIMITS),
)


@job.open
async def log_in(session):
    await session.post("/login", data={"user": session.identity, "password": session.state["password"]}, expect="h1")


@job.expired
def is_over(page):
    return page.has("form.login")


@job.scrape
async def scrape(session, partition):
    for number in range(EACH):
        page = await session.get(f"/{partition.key}/{number}", expect="h1")
        yield {"id": f"{partition.key}/{number}", "text": page.text("h1"), "by": session.identity}
"""


class Run:
    """A job file, the table of its identities, and the command."""

    def __init__(
        self, folder: Path, site: MembersSite, *, partitions: int = 24, each: int = 5, limits: str = ""
    ) -> None:
        self.folder, self.job, self.store = folder, folder / "job.py", folder / "items.db"
        self.people = folder / "people.csv"
        text = JOB.replace("URL", site.url).replace("PARTITIONS", str(partitions)).replace("EACH", str(each))
        self.job.write_text(text.replace("LIMITS", limits), encoding="utf-8")
        self.wanted = {f"{n:02}/{m}" for n in range(partitions) for m in range(each)}
        self.environment = {**os.environ, **{f"{name.upper()}_PASSWORD": word for name, word in PASSWORDS.items()}}
        self.identities({"anna": "", "ben": ""})

    def identities(self, proxies: dict[str, str]) -> None:
        rows = [f"{name},env:{name.upper()}_PASSWORD,{proxy}" for name, proxy in proxies.items()]
        self.people.write_text("\n".join(["name,state:password,proxy", *rows, ""]), encoding="utf-8")

    def start(self, output: Any = subprocess.DEVNULL, command: str = "run", *options: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "windrow", command, str(self.job), "--set", f"people={self.people}", *options]
        if command != "check":
            words += ["--store", str(self.store), "--quiet"]
        return subprocess.Popen(
            words, env=self.environment, stdout=output, stderr=output, text=True, start_new_session=True
        )

    def finish(self, command: str = "run", *options: str) -> tuple[int, str]:
        process = self.start(subprocess.PIPE, command, *options)
        told, errors = process.communicate(timeout=100)
        return process.returncode, told + errors

    def status(self, *options: str) -> str:
        words = [sys.executable, "-m", "windrow", "status", str(self.store), *options]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(f"file:{self.store}?mode=ro", uri=True) as connection:
            return connection.execute(query).fetchall()

    def check_records(self) -> Any:
        found: Any = windrow.read(str(self.store))
        assert len(found) == len(self.wanted)
        assert set(found["id"]) == self.wanted
        assert all(text == f"/{key}" for key, text in zip(found["id"], found["text"], strict=True))
        return found


def has_grown(site: MembersSite, pages: int) -> bool:
    return len(site.pages) > pages


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


# --- one live session each ---


@pytest.mark.parametrize("engine", ["processes", "threads"])
def test_two_identities_for_eight_sessions_of_two_workers_are_never_doubled(tmp_path: Path, engine: str) -> None:
    # Some partitions take much longer: while one identity has one of these, the other ends several.
    with MembersSite(PASSWORDS, lives=3, slow=("/00", "/07", "/13", "/19")) as site:
        run = Run(tmp_path, site)
        code, output = run.finish("run", "--engine", engine)
        assert code == 0, output
        found = run.check_records()
        assert set(found["by"]) == {"anna", "ben"}
        assert site.violations == []
        # Each session died in the midst of its partition and was opened again: nothing was fetched twice.
        assert len(site.pages) == 24 * 5 + 24
        assert len([seen for seen in site.log if seen.path == "/login"]) == 2 * 24
        # More sessions than identities would only ask for one in vain.
        assert run.rows("SELECT sessions FROM windrow_workers") == [(1,), (1,)]
        assert run.rows("SELECT sum(failures), max(attempt) FROM windrow_partitions") == [(0, 1)]


@pytest.mark.chaos
def test_a_killed_worker_frees_its_identity(tmp_path: Path) -> None:
    with MembersSite(PASSWORDS, latency=0.01) as site:
        run = Run(tmp_path, site, partitions=8, each=8)
        run.identities({"anna": ""})
        process = run.start()
        for kill in range(3):
            wait_until(partial(has_grown, site, len(site.pages) + 3), f"kill {kill}: nothing goes on")
            (pid,) = (pid for (pid,) in run.rows("SELECT pid FROM windrow_workers WHERE ended IS NULL"))
            os.kill(pid, signal.SIGKILL)
        assert process.wait(60) == 0
        run.check_records()
        assert site.violations == []


def test_a_supervisor_that_is_killed_leaves_no_identity_behind(tmp_path: Path) -> None:
    with MembersSite(PASSWORDS, latency=0.01) as site:
        run = Run(tmp_path, site, partitions=8, each=8)
        process = run.start()
        wait_until(lambda: len(site.pages) > 5, "it does not begin")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        code, output = run.finish()
        assert code == 0, output
        run.check_records()
        assert site.violations == []


# --- rests ---


def test_a_blocked_identity_rests_and_another_goes_on(tmp_path: Path) -> None:
    with MembersSite(PASSWORDS) as site:
        run = Run(tmp_path, site, partitions=6, each=2, limits="rest=600.0")
        site.refusing["anna"] = 1
        site.open_gate.clear()
        process = run.start()
        wait_until(lambda: bool(site.of("anna")) and "anna" in run.status(), "anna does not rest")
        assert "identity anna rests until 20" in run.status()
        assert "blocked" in run.status().partition("identity anna")[2]
        (resting,) = json.loads(run.status("--json"))["resting"]
        assert (resting["name"], "blocked" in resting["reason"]) == ("anna", True)
        site.open_gate.set()
        assert process.wait(60) == 0
        found = run.check_records()
        assert set(found["by"]) == {"ben"}
        assert len(site.of("anna")) == 1


def test_an_identity_comes_back_after_its_rest(tmp_path: Path) -> None:
    with MembersSite(PASSWORDS) as site:
        run = Run(tmp_path, site, partitions=4, each=2, limits="rest=0.5")
        run.identities({"anna": ""})
        site.refusing["anna"] = 2
        code, output = run.finish()
        assert code == 0, output
        run.check_records()
        first, second, third = (seen.at for seen in site.log[:3])
        assert second - first >= 0.5
        assert third - second >= 1.0
        assert "identity anna" not in run.status()


def test_a_function_that_catches_a_block_and_ends_well_rests_its_identity_too(tmp_path: Path) -> None:
    with MembersSite(PASSWORDS) as site:
        run = Run(tmp_path, site, partitions=2, each=1, limits="rest=0.3")
        run.identities({"anna": ""})
        text = run.job.read_text(encoding="utf-8").replace("for number", "try:\n        for number")
        text = text.replace("        page =", "            page =").replace("        yield", "            yield")
        run.job.write_text(text + "    except Exception:\n        pass\n", encoding="utf-8")
        site.open_gate.clear()
        process = run.start()
        wait_until(lambda: bool(site.of("anna")), "anna does not log in")
        site.refusing["anna"] = 1
        site.open_gate.set()
        assert process.wait(60) == 0
        refused = next(place for place, seen in enumerate(site.log) if seen.status == 403)
        assert site.log[refused + 1].at - site.log[refused].at >= 0.3


@pytest.mark.parametrize(
    "told", ['raise RuntimeError("refused")', 'session.state["name"] = page.one("h1")'], ids=["own", "page"]
)
def test_one_that_does_not_get_in_rests_whatever_open_raises(tmp_path: Path, told: str) -> None:
    with MembersSite(PASSWORDS) as site:
        run = Run(tmp_path, site, partitions=8, each=2, limits="rest=600.0")
        run.identities({"anna": "", "ben": "", "cleo": ""})
        run.environment["CLEO_PASSWORD"] = "wrong-password-secret"
        text = run.job.read_text(encoding="utf-8").replace("    await session.post", "    page = await session.post")
        text = text.replace(
            ', expect="h1")\n\n\n@job.expired', f')\n    if page.has("form"):\n        {told}\n\n\n@job.expired'
        )
        run.job.write_text(text, encoding="utf-8")
        code, output = run.finish()
        assert code == 0, output
        run.check_records()
        # Else it would ask for one partition after the other, and fail them all.
        assert run.rows("SELECT uses, rests FROM windrow_identities WHERE name = 'cleo'") == [(1, 1)]
        ((reason,),) = run.rows("SELECT reason FROM windrow_identities WHERE name = 'cleo'")
        assert reason.startswith("open failed: ")


# --- proxies ---


def test_a_partition_of_a_dead_proxy_goes_on_with_another(tmp_path: Path) -> None:
    with MembersSite(PASSWORDS) as site, HttpProxy(("proxy-user", "proxy-secret")) as proxy, nothing_listens() as port:
        run = Run(tmp_path, site, partitions=6, each=2, limits="rest=600.0")
        run.identities({"anna": f"http://127.0.0.1:{port}", "ben": proxy.with_login()})
        code, output = run.finish()
        assert code == 0, output
        assert set(run.check_records()["by"]) == {"ben"}
        # What a proxy does is no failure of a partition's.
        assert run.rows("SELECT sum(failures) FROM windrow_partitions") == [(0,)]
        assert run.rows("SELECT sum(attempt) FROM windrow_partitions") == [(7,)]
        assert set(proxy.passed) == {site.url.removeprefix("http://")}


def test_when_all_proxies_are_dead_the_run_ends_and_says_so_and_retry_gives_them_another_chance(tmp_path: Path) -> None:
    with MembersSite(PASSWORDS) as site, nothing_listens() as port, SocksProxy() as proxy:
        run = Run(tmp_path, site, partitions=6, each=2, limits="rest=0.01, rests=3")
        run.identities({"anna": f"http://127.0.0.1:{port}", "ben": f"socks5://127.0.0.1:{port}"})
        started = time.monotonic()
        code, output = run.finish()
        assert code == 3, output
        assert time.monotonic() - started < 30
        assert "no identity is left: each one rested 3 times in a row" in output
        assert "cannot be used" in output
        assert "identity anna is out for this run" in output
        assert run.rows("SELECT DISTINCT state FROM windrow_partitions") == [("failed",)]
        assert site.pages == []
        run.identities({"anna": proxy.with_login("socks5h"), "ben": proxy.with_login("socks5")})
        code, output = run.finish("retry")
        assert code == 0, output
        run.check_records()


# --- secrets ---


LEAKY = """
from pydantic import BaseModel
from windrow import Identity, Job, Limits, Pace, identities, values


class Item(BaseModel):
    id: int


job = Job(
    "items", key="id", record=Item, partitions=values(["raises", "url", "expect", "invalid", "gone", "blocked"]),
    base_url="URL", sessions=4, workers=2, pace=Pace(delay=0.0), rate=0,
    parameters={"people": "people.csv"}, identities=lambda given: identities(given["people"]),
    limits=Limits(rest=0.01, rests=4, attempts=2, retries=1),
)


@job.open
def log_in(session):
    session.post("/login", data={"user": session.identity, "password": session.state["password"]}, expect="h1")


@job.scrape
def scrape(session, partition):
    secret = session.state["password"]
    if partition.key == "raises":
        raise ValueError(f"no luck with {session.state} and {session.headers} {session.cookies}")
    if partition.key == "url":
        session.get("ftp://x/", params={"password": secret})
    if partition.key == "expect":
        session.get("/a", params={"password": secret}, expect=f"div[title='{secret}']")
    if partition.key == "invalid":
        return {"id": f"not a number but {secret}"}
    if partition.key == "gone":
        session.get("/nowhere", params={"password": secret}, expect=lambda page: page.one(f"#{secret}"))
    if partition.key == "blocked":
        raise RuntimeError(repr(secret) + " in " + repr(session._session._settings))
"""


def test_no_secret_is_in_the_store_the_output_or_the_status(tmp_path: Path) -> None:
    secrets = [*PASSWORDS.values(), "header/secret", "header%2Fsecret", "cookie-secret", "proxy-secret", "proxy-user"]
    with MembersSite(PASSWORDS) as site, HttpProxy(("proxy-user", "proxy-secret")) as proxy, nothing_listens() as port:
        run = Run(tmp_path, site)
        run.job.write_text(LEAKY.replace("URL", site.url), encoding="utf-8")
        ways = {
            "anna": proxy.with_login(),
            "ben": proxy.with_login(),
            "cleo": proxy.with_login(password="proxy-secret-that-is-wrong"),
            "dora": f"http://proxy-user:proxy-secret@127.0.0.1:{port}",
            "eve": f"socks5://proxy-user:proxy-secret@127.0.0.1:{port}",
        }
        words = {name: PASSWORDS.get(name, "wrong-password-secret") for name in ways}
        table = ["name,state:password,proxy,header:X-Key,cookie:sid"]
        table += [f"{name},{words[name]},{way},header/secret,cookie-secret" for name, way in ways.items()]
        run.people.write_text("\n".join(table), encoding="utf-8")
        site.refusing["anna"] = 1
        code, output = run.finish()
        assert code == 3, output
        told = output + run.status() + run.status("--json")
        for key in ("raises", "expect", "invalid"):
            told += run.finish("check", key)[1]
        stored = b"".join(path.read_bytes() for path in tmp_path.glob("items.db*"))
        assert b"[secret]" in stored
        assert "[secret]" in told
        secrets.append("wrong-password-secret")
        assert [secret for secret in secrets if secret in told] == []
        assert [secret for secret in secrets if secret.encode() in stored] == []
        # Each kind of failure was there.
        reasons: dict[str, str] = dict(run.rows("SELECT key, reason FROM windrow_partitions"))
        known = {"raises": "ValueError", "url": "ftp", "expect": "expected", "gone": "expected", "blocked": "Session"}
        assert [key for key, word in known.items() if word not in reasons[key]] == []
        rests = " ".join(str(row) for row in run.rows("SELECT reason FROM windrow_identities"))
        assert "status 407" in rests
        assert "cannot be used" in rests
        assert run.rows("SELECT count(*) FROM windrow_invalid")[0][0] >= 1


def test_a_secret_that_is_not_there_is_said_before_anything_begins(tmp_path: Path) -> None:
    with MembersSite(PASSWORDS) as site:
        run = Run(tmp_path, site)
        del run.environment["BEN_PASSWORD"]
        code, output = run.finish()
        assert code == 2
        assert output.strip().count("\n") == 0
        assert f"{run.people}, line 3: identity 'ben': the environment variable BEN_PASSWORD" in output
        assert not run.store.exists()
