"""What every command shares: the console, the progress bar, the one-line error."""

import errno
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.console import Console

T = TypeVar("T")


class FigureFormat(StrEnum):
    """The file formats of figures (report/canvas.py)."""

    png = "png"
    svg = "svg"
    pdf = "pdf"


console = Console(highlight=False, soft_wrap=True)
"""Results go here (standard output)."""

messages = Console(stderr=True, highlight=False, soft_wrap=True)
"""Progress, warnings and errors go here (standard error)."""

is_debugging = False
"""Set by `--debug`: errors show their traceback."""


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """The items, under a bar with a count, a rate and the time left; silent where there is no terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.1f}/s", style="progress.data.speed")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    with Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal) as progress:
        yield from progress.track(items, total=total, description=description)


def typed(context: typer.Context, names: Sequence[str]) -> list[str]:
    """Those of the options that were typed, as they are written."""
    options = {param.name: param.opts[0] for param in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in names}
    return [options[name] for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def import_keras_quietly(extra: str = "train") -> None:
    """Import Keras and its backend without TensorFlow's start-up notices; whatever else they say comes through.

    The notices are written to file descriptor 2 before any setting of TensorFlow can silence them.

    Args:
        extra: What the error names where Keras is not installed.
    """
    import os
    import tempfile
    from importlib import import_module

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    require_keras(extra)
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            import_module("keras")
        except (ImportError, ValueError) as error:
            from polypseg.errors import UsageError

            raise UsageError(
                f"Keras cannot use its backend {os.environ.get('KERAS_BACKEND', 'tensorflow')!r} ({error}); install it "
                "or set KERAS_BACKEND to one that is installed: tensorflow, jax or torch"
            ) from error
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines():
                if not any(notice in line for notice in _START_UP_NOTICES):
                    sys.stderr.write(line + "\n")


def import_keras_for(model: Path) -> None:
    """Import Keras, quietly, if a model needs it: a run folder or a .keras file."""
    if model.is_dir() or model.suffix.lower() == ".keras":
        import_keras_quietly()


def require_keras(extra: str = "train") -> None:
    """Nothing, if Keras is installed; it is not imported.

    Raises:
        MissingExtraError: It is not; the message names the extra.
    """
    from importlib.util import find_spec

    from polypseg.errors import missing_extra

    if find_spec("keras") is None:
        raise missing_extra("keras", extra)


_START_UP_NOTICES = ("oneDNN custom operations are on", "before absl::InitializeLog()")


def command_line() -> str:
    """The command as it was typed."""
    import shlex

    return shlex.join(["polypseg", *sys.argv[1:]])


def note_earlier_option(is_given: bool, earlier: str, name: str) -> None:
    """Print that an option has another name now, if it was given by its earlier one."""
    if is_given:
        messages.print(f"[yellow]note:[/yellow] {earlier} is now {name}; polypseg 0.3 will not accept the earlier name")


def one_line_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, with its errors told in one line and its exit code set: 1 for data and files, 2 for the call."""

    @wraps(command)
    def guarded(*arguments: Any, **options: Any) -> Any:
        import warnings

        from polypseg.errors import EXTRA_OF, PolypsegError, missing_extra

        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            try:
                return command(*arguments, **options)
            except PolypsegError as error:
                _fail(error, str(error), error.exit_code)
            except KeyboardInterrupt as error:
                _fail(error, "stopped; finished work is saved", 130)
            except ModuleNotFoundError as error:
                package = (error.name or "").partition(".")[0]
                if package not in EXTRA_OF:
                    raise
                _fail(error, str(missing_extra(package, EXTRA_OF[package])), 1)
            except OSError as error:
                where = f"{error.filename}: " if error.filename else ""
                mend = "; make room and run the same command again" if error.errno == errno.ENOSPC else ""
                _fail(error, f"{where}{error.strerror or error}{mend}", 1)

    guarded.__doc__ = reflowed(command.__doc__ or "")
    return guarded


def reflowed(text: str) -> str:
    r"""The text with each paragraph on one line, so that a terminal of any width breaks it where it must.

    >>> reflowed("Write a file.\n\n    One sentence\n    on two lines.")
    'Write a file.\n\nOne sentence on two lines.'
    """
    from inspect import cleandoc

    return "\n\n".join(" ".join(paragraph.split()) for paragraph in cleandoc(text).split("\n\n"))


def _fail(error: BaseException, message: str, code: int) -> None:
    if is_debugging:
        raise error
    messages.print(f"[bold red]error:[/bold red] {_escaped(message)}")
    raise typer.Exit(code)


def _show_warning(message: Any, category: type[Warning], *_: Any) -> None:
    if category.__module__.startswith("polypseg.") or "-W" in sys.argv:
        messages.print(f"[yellow]note:[/yellow] {_escaped(str(message))}")


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
