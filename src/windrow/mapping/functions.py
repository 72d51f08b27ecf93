"""How a function, its items and its values get from one process to another.

By pickle, where functions and classes go as a module and a name. What lives in `__main__` cannot be imported by that
name elsewhere: a worker loads the script's file as a module called MAIN_NAME, and that name and `__main__` are taken
for each other on both sides.

Loading a script runs it. A script needs no `if __name__ == "__main__"` around its `windrow.map` all the same: the call
notices that it is made by a file which a worker is loading (the loader is on the stack) and raises MapReached, which
ends the loading. What stands further down in the file is not run; of it only the definitions, imports and literal
constants are taken over, so that a second call finds its function.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
import inspect
import io
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from windrow.errors import UsageError
from windrow.mapping.outcomes import item_text

PROTOCOL = 5
# Begins as the modules of job files do, so that a `windrow.run(job)` in the script ends its loading too.
MAIN_NAME = "windrow_job_main"
WORKER_MODULE = "windrow.mapping.worker"
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


class MapReached(BaseException):
    """Raised where a file that a worker is loading would start workers: the worker has what it came for."""


class Unloadable(UsageError):
    """A function that a worker process cannot load."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a worker finds what the caller's process has.

    - `main_file`, `main_package`: the script behind `__main__`; None for a prompt or a notebook.
    """

    path: list[str]
    arguments: list[str]
    main_file: str | None
    main_package: str


def origin() -> Origin:
    """The origin of this process."""
    main = _main_module()
    spec: ModuleSpec | None = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None)
    return Origin(
        path=[entry or str(Path.cwd()) for entry in sys.path],
        arguments=list(sys.argv),
        main_file=str(Path(file).resolve()) if file and Path(file).is_file() else None,
        main_package=(spec.parent or "") if spec is not None else "",
    )


def files_of(function: Callable[..., Any]) -> dict[str, str]:
    """The function's module and its file: job files, for one, are loaded under names that cannot be imported."""
    name = getattr(bare(function), "__module__", None)
    module = sys.modules.get(name) if isinstance(name, str) else None
    file = getattr(module, "__file__", None)
    return {name: file} if name and file and name != "__main__" else {}


def _main_module() -> ModuleType:
    """The user's `__main__`; in a worker, which may start workers of its own, the script it has loaded."""
    main = sys.modules["__main__"]
    if getattr(getattr(main, "__spec__", None), "name", None) != WORKER_MODULE:
        return main
    return next((module for name, module in list(sys.modules.items()) if _is_main(name)), main)


def bare(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function inside of partials and bound methods."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, MethodType):
            function = function.__func__
        else:
            return function


def check_callable(function: Any) -> None:
    """Raises UsageError for what no kind of worker can run."""
    if not callable(function):
        raise UsageError(f"windrow.map: a function is needed first, not {item_text(function)}")
    if inspect.iscoroutinefunction(bare(function)):
        name = bare(function).__name__
        raise UsageError(
            f"windrow.map: {name} is async; give a plain function, such as def work(item): return "
            f"asyncio.run({name}(item))"
        )


def check_importable(function: Callable[..., Any]) -> None:
    """Raises UsageError for a function that a worker process cannot find, saying what to do."""
    inner = bare(function)
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    instead = 'or use kind="threads", which runs any function'
    if isinstance(inner, FunctionType) and "<lambda>" in name:
        raise UsageError(
            "windrow.map: a lambda cannot be found by a worker process; write `def name(item): …` at the top level of "
            f"a file, {instead}"
        )
    if isinstance(inner, FunctionType) and "<locals>" in name:
        raise UsageError(
            f"windrow.map: {name} is defined inside a function, where a worker process cannot find it; move it to the "
            f"top level of its file and hand over what it needs with functools.partial, {instead}"
        )
    if getattr(inner, "__module__", None) == "__main__" and origin().main_file is None:
        raise UsageError(
            f"windrow.map: {name} was typed at a prompt or in a notebook, where a worker process cannot find it; put "
            f"it into a file and import it from there, {instead}"
        )
    try:
        pickle.dumps(function, PROTOCOL)
    except Exception as error:
        raise UsageError(
            f"windrow.map: {name} cannot be sent to a worker process ({type(error).__name__}: {error}); give a "
            f"function of a module, or functools.partial of one with arguments that can be pickled, {instead}"
        ) from error


def check_not_loading() -> None:
    """Raises MapReached where the caller is a file that a worker process is loading."""
    if getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", None) != WORKER_MODULE:
        return
    # Of every thread: a file may call from a thread that it starts and waits for.
    for innermost in sys._current_frames().values():
        frame: FrameType | None = innermost
        while frame is not None:
            if frame.f_code is Loader.load.__code__:
                raise MapReached
            frame = frame.f_back


def dumps(value: Any) -> bytes:
    """`value` as a pickle. Raises whatever pickling it raises."""
    return pickle.dumps(value, PROTOCOL)


def loads_here(data: bytes) -> Any:
    """What a worker sent. Its name for the script is `__main__` here."""
    return _Homecoming(io.BytesIO(data)).load()


class _Homecoming(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if _is_main(module) and module not in sys.modules:
            module = "__main__"
        return super().find_class(module, name)


def _is_main(name: str) -> bool:
    return name == MAIN_NAME or name.endswith("." + MAIN_NAME)


class Loader:
    """A worker's side: unpickles what the caller sent, and loads the caller's script when something of it is needed.

    `main`: the script, where this process has it already.
    """

    def __init__(self, origin: Origin, main: ModuleType | None = None) -> None:
        self._origin = origin
        self._files: dict[str, str] = {}
        self._main = main

    def enter(self) -> None:
        """Give this process the caller's import path and arguments."""
        sys.path[:] = self._origin.path
        sys.argv[:] = self._origin.arguments

    def know(self, files: dict[str, str]) -> None:
        """Modules that may have to be loaded from their file, because no import finds their name."""
        self._files.update(files)

    def load(self, data: bytes) -> Any:
        """The unpickled value. Raises whatever loading it raises, Unloadable where a reason is known."""
        try:
            return _Arrival(io.BytesIO(data), self).load()
        except BaseException as error:
            if _ends_loading(error):
                raise Unloadable(
                    "a module that the worker imports calls windrow.map at its top level; put that call into a "
                    'function, or under if __name__ == "__main__":'
                ) from error
            raise

    def module(self, name: str) -> ModuleType:
        """The module the caller means by `name`, imported if it is not there yet."""
        if name == "__main__" or _is_main(name):
            if self._main is None:
                self._main = self._load_main()
            return self._main
        if name in sys.modules:
            return sys.modules[name]
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name or name not in self._files:
                raise
            return _run_file(name, self._files[name])

    def _load_main(self) -> ModuleType:
        file, package = self._origin.main_file, self._origin.main_package
        if file is None:
            raise Unloadable("what was typed at a prompt or in a notebook cannot be loaded by a worker process")
        if package:
            importlib.import_module(package)
        return _run_file(f"{package}.{MAIN_NAME}" if package else MAIN_NAME, file)


class _Arrival(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, loader: Loader) -> None:
        super().__init__(file)
        self._loader = loader

    def find_class(self, module: str, name: str) -> Any:
        found: Any = self._loader.module(module)
        for part in name.split("."):
            try:
                found = getattr(found, part)
            except AttributeError:
                raise Unloadable(_missing(found, module, name)) from None
        return found


def _missing(where: Any, module: str, name: str) -> str:
    if module == "__main__" or _is_main(module):
        return (
            f"{where.__file__} has no {name} once a worker has loaded it: define it at the top level of the file, "
            "not in a condition, and best above the first windrow.map call"
        )
    return f"the module {module} has no {name} in a worker process: define it at the top level of the module"


def _run_file(name: str, file: str) -> ModuleType:
    """The file as a module of that name, run up to where it would start workers, with what is defined further down."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None:
        raise Unloadable(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    tree = ast.parse(Path(file).read_bytes(), file)
    try:
        exec(compile(tree, file, "exec"), vars(module))
    except BaseException as error:
        if not _ends_loading(error):
            del sys.modules[name]
            raise
        _take_over(tree, module, _line_reached(error, module))
    return module


def _ends_loading(error: BaseException) -> bool:
    """`windrow.run(job)` raises the job module's exception, which is not imported here: that takes a worker 60 ms."""
    job = sys.modules.get("windrow.job")
    return isinstance(error, MapReached) or (job is not None and isinstance(error, job.LoadedFarEnough))


def _line_reached(error: BaseException, module: ModuleType) -> int:
    """The line of the module's own top level where the error passed."""
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_globals is vars(module):
            return step.tb_lineno
        step = step.tb_next
    return 0


def _take_over(tree: ast.Module, module: ModuleType, line: int) -> None:
    futures = [s for s in tree.body if isinstance(s, ast.ImportFrom) and s.module == "__future__"]
    for statement in _definitions(tree, line):
        # One may need what was not run; who asks for it is told that it is missing.
        with contextlib.suppress(Exception):
            exec(compile(ast.Module([*futures, statement], []), str(module.__file__), "exec"), vars(module))


def _definitions(tree: ast.Module, line: int) -> Iterator[ast.stmt]:
    """Statements below `line` that only define: functions, classes, imports, names for literals."""
    for statement in tree.body:
        if statement.lineno > line and (isinstance(statement, _DEFINITIONS) or _is_literal(statement)):
            yield statement


def _is_literal(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
        return False
    try:
        ast.literal_eval(statement.value)
    except ValueError:
        return False
    return True
