"""What a user declares: a job, its settings, and how a job is found by its name or file."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import re
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final, Literal, TypeVar

from windrow.errors import JobError, SettingError, UsageError
from windrow.events import Verdict
from windrow.identity import Identity, distinct
from windrow.partitions import Partition, PartitionSource
from windrow.records import RecordType, record_type

Parameters = Mapping[str, Any]
Matcher = Callable[[Mapping[str, Any], Partition], bool | None]
Function = TypeVar("Function", bound=Callable[..., Any])

BUILT_IN = MappingProxyType({"annuaire": "windrow.demo.annuaire.job", "finviz": "windrow.demo.finviz.job"})
USER_AGENT = "windrow/0.1 (a scraper that keeps to robots.txt)"
AUTO: Final = "auto"
MOST_SESSIONS = 100_000
LOADING = "__windrow_is_loading__"
"""Set on a module for as long as `load_job` executes it."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one session may go: seconds from the end of an answer to its next request.

    After ten clean answers in a row a session waits a tenth less, down to `least` (None: `delay`, so that nobody is
    asked faster than you said); after a block or a throttling it waits half as long again, up to `most`. A delay of 0
    stays 0: none means none.
    """

    delay: float = 1.0
    least: float | None = None
    most: float = 60.0

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= self.most:
            raise SettingError(f"Pace: 0 <= least <= most is needed, not least={self.floor}, most={self.most}")
        if self.delay < 0:
            raise SettingError(f"Pace: delay must not be negative, not {self.delay}")

    @property
    def floor(self) -> float:
        """The shortest delay that the pace may adapt to."""
        return min(self.delay, self.most) if self.least is None else self.least


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds. Sizes in bytes, times in seconds; what exceeds one is a clear error for its partition."""

    body: int = 20_000_000
    """Largest body as it is transferred."""
    decompressed: int = 100_000_000
    """Largest body once it is unpacked."""
    redirects: int = 10
    connect: float = 20.0
    """Longest wait for a connection."""
    silence: float = 30.0
    """Longest wait for the next bytes of an answer."""
    request: float = 120.0
    """Longest time one request may take altogether."""
    retries: int = 4
    """How often a request is sent again after a transient fault, in the same session."""
    wait: float = 15.0
    """Longest wait that holds a worker; a longer one parks the partition."""
    crawl_delay: float = 300.0
    """Longest Crawl-delay that is kept; of a host whose robots.txt asks for more nothing is asked."""
    attempts: int = 5
    """How many attempts at a partition may end without a new record before it is failed."""
    parked: float = 24 * 3600.0
    """How long hosts that ask to be left alone may keep a partition from any new record before it is failed."""
    partition: float = 6 * 3600.0
    """Longest time one attempt at a partition may take."""
    deaths: int = 3
    """How many workers a partition may kill before it is failed."""
    rest: float = 60.0
    """How long an identity rests that was blocked or whose proxy cannot be used; doubled for each rest in a row."""
    longest_rest: float = 3600.0
    """Longest time an identity rests."""
    rests: int = 5
    """How often in a row an identity may rest, without a partition that ends well, before it is out for the run."""
    invalid: int | None = None
    """How many invalid records a partition may have; one more fails it. None: any number is kept apart and counted."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            least = 0 if each.name in {"redirects", "retries", "invalid"} else 1e-9
            if value is not None and value < least:
                raise SettingError(
                    f"Limits: {each.name} must be {'0 or more' if least == 0 else 'above 0'}, not {value}"
                )


@dataclass(eq=False)
class Job:
    """One scraping job: what a record is, what the partitions are, and the function that scrapes one of them.

    - `name`: names the table of records: letters, digits and `_`.
    - `record`: a pydantic model, a dataclass or a TypedDict; None for plain dicts.
    - `key`: the column, or a tuple of columns, that identifies a record.
    - `partitions`: a source (`prefixes`, `rows`, `values`), or a function of the job's parameters that returns one.
    - `base_url`: what relative addresses of the scrape function are relative to.
    - `sessions`: partitions in progress at once, over all workers. With "auto" it is a few, and as many more, up to
      `most_sessions`, as bring something: sites answer slowly, budgets leave room, cores and memory are not full.
    - `workers`: processes; None for min(cores, sessions).
    - `pace`: of one session. `rate`: requests per second to one host, over all sessions, at most; the budget adapts
      below it. None: the budget finds it out alone. 0: no budget at all.
    - `parameters`: names and defaults of what `--set NAME=VALUE` may change.
    - `headers`: sent with each request. `user_agent`: say who you are and how to reach you.
    - `identities`: logins and proxies of which one live session at a time has each, or a function of the job's
      parameters that returns them; see `Identity` and `identities`.
    - `robots`: whether robots.txt is obeyed.

    Raises JobError or SettingError for a declaration that cannot be.
    """

    name: str = field(kw_only=False)
    key: str | tuple[str, ...]
    partitions: PartitionSource | Callable[[Parameters], PartitionSource]
    record: type | None = None
    base_url: str | None = None
    sessions: int | Literal["auto"] = 4
    most_sessions: int = 64
    workers: int | None = None
    pace: Pace = field(default_factory=Pace)
    rate: float | None = None
    limits: Limits = field(default_factory=Limits)
    parameters: Parameters = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    user_agent: str = USER_AGENT
    robots: bool = True
    identities: Sequence[Identity] | Callable[[Parameters], Sequence[Identity]] = ()
    function: Callable[..., Any] | None = field(default=None, init=False, repr=False)
    matchers: tuple[Matcher, ...] = field(default=(), init=False, repr=False)
    judge: Callable[[Any], Verdict | None] | None = field(default=None, init=False, repr=False)
    opener: Callable[[Any], Any] | None = field(default=None, init=False, repr=False)
    expiry: Callable[[Any], bool] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name.lower().startswith(("windrow", "sqlite")):
            raise JobError(
                f"the job name {self.name!r} cannot name a table: use letters, digits and _, a letter first, at most "
                "63, not beginning with windrow or sqlite"
            )
        if not callable(self.partitions) and not isinstance(self.partitions, PartitionSource):
            raise JobError(f"{self.name}: partitions must come from prefixes(), rows() or values()")
        if "base_url" in self.parameters:
            raise JobError(
                f"{self.name}: base_url is no parameter; give base_url=…, --set base_url=… works all the same"
            )
        self._check_numbers()
        self._check_base_url()
        self.record_type: RecordType = record_type(self.record, self.key)

    def _check_numbers(self) -> None:
        if self.sessions != AUTO and not (isinstance(self.sessions, int) and self.sessions >= 1):
            raise SettingError(f'{self.name}: sessions must be at least 1, or "auto", not {self.sessions!r}')
        if max(self.most_sessions, 0 if self.sessions == AUTO else self.sessions) > MOST_SESSIONS:
            raise SettingError(f"{self.name}: there may be {MOST_SESSIONS:,} sessions at most")
        if self.most_sessions < 1:
            raise SettingError(f"{self.name}: most_sessions must be at least 1, not {self.most_sessions}")
        if self.workers is not None and self.workers < 1:
            raise SettingError(f"{self.name}: workers must be at least 1, not {self.workers}")
        if self.rate is not None and self.rate < 0:
            raise SettingError(
                f"{self.name}: rate must be 0 (no budget) or more requests per second, or None, not {self.rate}"
            )

    def _check_base_url(self) -> None:
        if self.base_url is not None and not re.match(r"https?://[^/\s]+", self.base_url):
            raise SettingError(f"{self.name}: base_url must begin with http:// or https://, not {self.base_url!r}")

    def scrape(self, function: Function) -> Function:
        """Decorator: the function that scrapes one partition, called with a session and the partition.

        It may be `async` or plain (then it gets a blocking session, in a thread of its own) and may yield records or
        return one, several, or none.
        """
        if self.function is not None:
            raise JobError(f"{self.name}: scrape() decorates two functions; a job has one")
        if len(inspect.signature(function).parameters) != 2:
            raise JobError(f"{self.name}: the scrape function takes two arguments, a session and a partition")
        self.function = function
        return function

    def matches(self, function: Function) -> Function:
        """Decorator: `function(row, partition)` guesses whether the site lists that record under that partition.

        Where a site lists one record under several partitions and caps each list, a partition can be complete though
        its own list is not: when as many records of the run belong to it as the site reports. Several functions may
        be given; a guess counts only as long as it explains every complete list of the run (see `store/guesses.py`).
        It may say None: it does not know. `row` holds the columns that are no JSON.
        """
        self.matchers = (*self.matchers, function)
        return function

    def verdict(self, function: Function) -> Function:
        """Decorator: `function(page)` may say that a page which looks good is none: a `Verdict`, or None for no word.

        It is asked after Windrow's own classification, and only where that is OK. What it calls THROTTLED counts for
        the host's budget, what it calls BLOCKED retires the session, TRANSIENT is asked for again.
        """
        if self.judge is not None:
            raise JobError(f"{self.name}: verdict() decorates two functions; a job has one")
        if len(inspect.signature(function).parameters) != 1:
            raise JobError(f"{self.name}: the verdict function takes one argument, a page")
        self.judge = function
        return function

    def open(self, function: Function) -> Function:
        """Decorator: `function(session)` logs in, fetches a token, or whatever a session begins with.

        It runs in each new session before the scrape function, and again when the session has died: when `expired`
        says so of a page, or a page with status 2xx lacks what `expect=` asks for. Then the request that met such a
        page is sent once more. It may be `async` or plain.
        """
        if self.opener is not None:
            raise JobError(f"{self.name}: open() decorates two functions; a job has one")
        if len(inspect.signature(function).parameters) != 1:
            raise JobError(f"{self.name}: the open function takes one argument, a session")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise JobError(f"{self.name}: the open function makes no records; leave yield out")
        self.opener = function
        return function

    def expired(self, function: Function) -> Function:
        """Decorator: `function(page)` says whether a page means that the session has died; see `open`.

        It is asked of every page but those that `open` itself gets, also of those with a status like 401.
        """
        if self.expiry is not None:
            raise JobError(f"{self.name}: expired() decorates two functions; a job has one")
        if len(inspect.signature(function).parameters) != 1:
            raise JobError(f"{self.name}: the expired function takes one argument, a page")
        if inspect.iscoroutinefunction(function):
            raise JobError(f"{self.name}: the expired function looks at a page and cannot be async")
        self.expiry = function
        return function

    def named_identities(self) -> dict[str, Identity]:
        """The identities by their names, with the parameters as they are now; empty for a job without any.

        Raises SettingError where two have one name, there is none, or they have something to send and the job does
        not say where.
        """
        if not callable(self.identities) and not self.identities:
            return {}
        found = self._made_identities() if callable(self.identities) else self.identities
        if not isinstance(found, Sequence) or not all(isinstance(each, Identity) for each in found):
            raise JobError(f"{self.name}: identities must be a list of Identity, as identities() returns it")
        sending = next((each for each in found if each.is_sent), None)
        if sending is not None and self.base_url is None:
            raise SettingError(
                f"{self.name}: the identity {sending.name!r} has headers, cookies or auth, which are sent to the "
                "base_url's origin only, and the job has no base_url; give it one"
            )
        return {each.name: each for each in distinct(found, f"{self.name}: identities")}

    def _made_identities(self) -> Any:
        assert callable(self.identities)
        try:
            return self.identities(self.parameters)
        except UsageError:
            raise
        except Exception as error:
            raise JobError(f"{self.name}: identities(parameters) failed: {type(error).__name__}: {error}") from error

    def source(self) -> PartitionSource:
        """Where the partitions come from, with the parameters as they are now."""
        if isinstance(self.partitions, PartitionSource):
            return self.partitions
        source = self.partitions(self.parameters)
        if not isinstance(source, PartitionSource):
            raise JobError(f"{self.name}: partitions(parameters) must return prefixes(), rows() or values()")
        return source

    def with_settings(self, settings: Mapping[str, Any]) -> Job:
        """A copy with other values for named fields (`sessions`, `pace`, `rate`, …), checked as in the constructor."""
        copy = replace(self, **settings)
        copy.function, copy.matchers, copy.judge = self.function, self.matchers, self.judge
        copy.opener, copy.expiry = self.opener, self.expiry
        return copy

    def with_run_settings(self, settings: Mapping[str, Any]) -> Job:
        """A copy with the settings a command line may change.

        `delay` (s), `rate` (1/s, 0: no budget), `robots`, `sessions` (a number or "auto").
        """
        changed: dict[str, Any] = {}
        if settings.get("sessions") is not None:
            changed["sessions"] = settings["sessions"]
        if settings.get("delay") is not None:
            delay, least = float(settings["delay"]), self.pace.least
            changed["pace"] = Pace(delay, least and min(least, delay), max(self.pace.most, delay))
        if settings.get("rate") is not None:
            changed["rate"] = settings["rate"]
        if settings.get("robots") is not None:
            changed["robots"] = settings["robots"]
        return self.with_settings(changed)

    def with_parameters(self, texts: Mapping[str, str]) -> Job:
        """A copy with parameters set from texts, as `--set` gives them, each in the type of its default.

        Raises SettingError for an unknown name (it lists the known ones) or a text that does not fit.
        """
        known = {"base_url": self.base_url, **self.parameters}
        for name in texts:
            if name not in known:
                raise SettingError(f"{self.name}: no parameter {name!r} to set; known are {', '.join(sorted(known))}")
        settings: dict[str, Any] = {"parameters": dict(self.parameters)}
        for name, text in texts.items():
            value = _typed(name, text, known[name])
            if name == "base_url":
                settings["base_url"] = value
            else:
                settings["parameters"][name] = value
        return self.with_settings(settings)


def _typed(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() in {"1", "true", "yes", "on"}:
            return True
        if text.lower() in {"0", "false", "no", "off"}:
            return False
        raise SettingError(f"--set {name}: needs true or false, not {text!r}")
    if isinstance(default, int | float):
        try:
            return type(default)(text)
        except ValueError as error:
            kind = "a whole number" if isinstance(default, int) else "a number"
            raise SettingError(f"--set {name}: needs {kind}, not {text!r}") from error
    return text


class LoadedFarEnough(BaseException):
    """Raised where a job file that is being loaded would start a run: the loader has what it came for."""


def load_job(reference: str) -> Job:
    """The job that `file.py`, `file.py:name`, `package.module:name` or a built-in name means.

    Raises JobError that says what is wrong and where: no such file, an error while it was imported (with its line),
    no job in it, several jobs and no name, or a job without a scrape function.
    """
    place, _, name = reference.partition(":")
    if place in BUILT_IN:
        module = importlib.import_module(BUILT_IN[place])
    elif place.endswith(".py") or "/" in place:
        module = _import(reference, lambda: _import_file(Path(place)))
    else:
        module = _import(reference, lambda: _import_module(place))
    job = _pick(reference, module, name)
    if job.function is None:
        raise JobError(f"{reference}: the job {job.name!r} has no scrape function; decorate one with @job.scrape")
    if job.expiry is not None and job.opener is None:
        raise JobError(f"{reference}: the job {job.name!r} has an expired function and no open function to run then")
    return job


def _import(reference: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except JobError as error:
        raise JobError(f"{_place(error) or reference}: {error}") from error
    except SyntaxError as error:
        if error.filename is None:
            raise JobError(f"{reference}: syntax error: {error.msg}") from error
        raise JobError(f"{error.filename}, line {error.lineno}: syntax error: {error.msg}") from error
    except SystemExit as error:
        raise JobError(f"{reference}: it left with exit code {error.code} while it was loaded") from error
    except Exception as error:
        raise JobError(f"{_place(error) or reference}: {type(error).__name__}: {error}") from error


def _place(error: Exception) -> str | None:
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    foreign = ("<", str(Path(__file__).parent), *sysconfig.get_paths().values())
    own = [frame for frame in frames if not frame.filename.startswith(foreign)]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else None


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise JobError("no such file" if not path.exists() else "is no file")
    name = f"windrow_job_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise JobError("is no Python file")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return _executed(module, spec)


def _executed(module: ModuleType, spec: ModuleSpec) -> ModuleType:
    """Load a module as far as a `windrow.run` in it."""
    assert spec.loader is not None
    sys.modules[spec.name] = module
    setattr(module, LOADING, True)
    try:
        with contextlib.suppress(LoadedFarEnough):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    delattr(module, LOADING)
    return module


def _import_module(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError(name=name)
        return _executed(importlib.util.module_from_spec(spec), spec)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        known = ", ".join(sorted(BUILT_IN))
        raise JobError(
            f"no module {name!r} is to be found, and no built-in job has that name (built-in: {known}); "
            "for a file, give its name with .py"
        ) from error


def _pick(reference: str, module: ModuleType, name: str) -> Job:
    jobs = {attribute: value for attribute, value in vars(module).items() if isinstance(value, Job)}
    if name:
        if name not in jobs:
            there = f"there are {', '.join(jobs)}" if jobs else "there is none in it"
            raise JobError(f"{reference}: no job named {name!r}; {there}")
        return jobs[name]
    distinct = {id(job): attribute for attribute, job in jobs.items()}
    if not distinct:
        raise JobError(f"{reference}: there is no job in it; make one with `job = Job(…)`")
    if len(distinct) > 1:
        raise JobError(f"{reference}: there are several jobs in it ({', '.join(jobs)}); name one: {reference}:NAME")
    return jobs[next(iter(distinct.values()))]
