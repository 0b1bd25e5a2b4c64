"""Configs from files and from the command line.

A run's config.toml holds all the settings that there were when it was written; `load_run_config` fills in what newer
settings would have been. It is a saved file: what is wrong with it is a fault of the run, never of the call. Earlier
names of settings (`RENAMED`) are accepted everywhere, with a note outside of runs.
"""

import tomllib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from polypseg.config.tables import Config, SourceConfig
from polypseg.errors import ConfigError, PolypsegWarning, RunError, unknown_name

RENAMED: Mapping[str, str] = {"data.negatives": "data.polyp_removal", "train.average": "train.ema_momentum"}
"""Names of polypseg 0.1 that 0.2 accepts in configs and --set, and that runs may keep."""


REMOVED: Mapping[str, object] = {
    "split.looks": 0,
    "data.mix_up": 0.0,
    "loss.false_negative_weight": None,
    "loss.gamma": None,
    "loss.boundary_weight": None,
    "loss.window": None,
}
"""Settings of polypseg 0.1 that brought nothing (docs/explanation/experiments.md), and the value that switched each
off; None where it acted with a removed loss alone. The config.toml of a run may hold them."""


LOSS = "bce_dice"
REMOVED_LOSSES = ("focal_tversky", "lovasz", "structure")


INCLUDED = tuple(
    folder
    for folder in (Path(__file__).parent / "included", Path(__file__).parents[3] / "configs")
    if (folder / "demo.toml").is_file()
)
"""Where the included configs are: in an installed package, or in a clone."""


class RenamedSettingWarning(PolypsegWarning):
    """A config uses the earlier name of a setting."""


def load_config(path: Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """The defaults, changed by a TOML file, changed by `table.key=value` overrides.

    Args:
        path: TOML file, or the name of an included config as `kvasir-polyp-lite`; None for the defaults.
        overrides: As `--set` takes them; a value is read as TOML, and as a string where that fails.

    Raises:
        ConfigError: The file cannot be read, a key is unknown, or a value does not fit.

    >>> load_config(overrides=["model.filters=32", "train.epochs=3"]).model.filters
    32
    """
    tables: dict[str, object] = {}
    overrides = list(overrides)
    if path is not None:
        path = _found(path)
        tables = _read_tables(path)
        _rename(tables, str(path))
    for override in overrides:
        _override(tables, override)
    _refuse_removed(tables, str(path) if path else "--set")
    if path is None or not overrides:
        return config_from(tables, source=str(path) if path else "--set")
    try:
        return config_from(tables, source=str(path))
    except ConfigError:
        load_config(path)  # where the file alone is at fault, say so; else the overrides are
        return config_from(tables, source=f"{path} with --set")


EARLIER: Mapping[str, Mapping[str, str]] = {"data": {"field": "whole"}, "model": {"gates": "plain"}}
"""What settings were, before there were settings for them: a run keeps what it was trained with."""


def load_run_config(path: Path) -> Config:
    """The settings of a run's config.toml, which holds all that there were when it was written.

    Raises:
        RunError: It cannot be read, or is damaged.
    """
    with _as_saved():
        tables = _read_tables(path)
        _rename(tables)
        for removed in REMOVED:
            name, _, key = removed.partition(".")
            _table(tables, name).pop(key, None)
        for name, values in EARLIER.items():
            if isinstance(tables.setdefault(name, {}), dict):
                tables[name] = {**values, **_table(tables, name)}
        return config_from(tables, source=str(path))


@contextmanager
def _as_saved() -> Iterator[None]:
    """What is wrong with a config is a fault of the run that holds it.

    Raises:
        RunError: For a `ConfigError` in the block.
    """
    try:
        yield
    except ConfigError as error:
        raise RunError(f"{error}; put it back from a copy, or start a new run (--name)") from error


def removed_settings(path: Path) -> list[str]:
    """What a run's config.toml asks for that polypseg cannot do any more: the run can be used, not trained further.

    Raises:
        RunError: It cannot be read, or is damaged.
    """
    with _as_saved():
        tables = _read_tables(path)
    found = []
    for removed, off in REMOVED.items():
        name, _, key = removed.partition(".")
        value = _table(tables, name).get(key, off)
        if off is not None and value != off:
            found.append(f"{removed} {value}")
    loss = _table(tables, "loss").get("name", LOSS)
    return found if loss == LOSS else [*found, f"loss.name {loss}"]


def _table(tables: Mapping[str, object], name: str) -> dict[str, object]:
    """A table of a config; empty where there is none, or no table of that name."""
    found = tables.get(name)
    return found if isinstance(found, dict) else {}


def _rename(tables: Mapping[str, object], warn_of: str = "") -> None:
    """Give settings their names of today, with a warning where they come from a config of the user's (`warn_of`).

    Raises:
        ConfigError: A setting is there under both of its names.
    """
    for earlier, name in RENAMED.items():
        (table, old), new = earlier.split("."), name.partition(".")[2]
        values = tables.get(table)
        if not isinstance(values, dict) or old not in values:
            continue
        if new in values:
            raise ConfigError(f"{warn_of or 'config'}: {earlier} is an earlier name of {name}; keep one of the two")
        values[new] = values.pop(old)
        if warn_of:
            _warn_of_renaming(warn_of, earlier)


def _warn_of_renaming(source: str, earlier: str) -> None:
    message = f"{source}: {earlier} is now {RENAMED[earlier]}; polypseg 0.3 will not accept the earlier name"
    warnings.warn(message, RenamedSettingWarning, stacklevel=4)


def _refuse_removed(tables: Mapping[str, object], source: str) -> None:
    """Nothing, where a user's config names no setting that polypseg has no more.

    Raises:
        ConfigError: It does.
    """
    given = {f"{name}.{key}" for name, table in tables.items() if isinstance(table, dict) for key in table}
    found = sorted(given & set(REMOVED))
    loss = tables.get("loss")
    if isinstance(loss, dict) and loss.get("name", LOSS) in REMOVED_LOSSES:
        found.append(f"loss.name {loss['name']}")
    if found:
        raise ConfigError(f"{source}: {', '.join(found)}: removed in polypseg 0.2, since it brought nothing; delete it")


def included_configs() -> dict[str, Path]:
    """The configs that come with polypseg, by name."""
    return {path.stem: path for folder in INCLUDED[:1] for path in sorted(folder.glob("*.toml"))}


def _found(path: Path) -> Path:
    """The file itself, or the included config of that name.

    Raises:
        ConfigError: Neither.
    """
    included = included_configs()
    if path.exists():
        return path
    if path.name.removesuffix(".toml") in included and path.parent in (Path(), Path("configs")):
        return included[path.name.removesuffix(".toml")]
    if path.suffix == ".toml" or len(path.parts) > 1:
        raise ConfigError(f"{path}: cannot read the config: no such file; included are: {', '.join(included)}")
    raise ConfigError(unknown_name("config", str(path), included))


def _read_tables(path: Path) -> dict[str, object]:
    try:
        if path.exists() and not path.is_file():  # a read from a pipe may never return
            raise ConfigError(f"{path}: cannot read the config: not a regular file; expected a TOML file")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the config: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, tables 100,000 deep
        raise ConfigError(f"{path}: not a TOML file: {error}") from error


def config_from(tables: Mapping[str, object], source: str = "config") -> Config:
    """The config of nested tables (as TOML or JSON give them).

    Raises:
        ConfigError: A key is unknown, or a value does not fit.
    """
    try:
        return Config.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_explain(error)}") from error


def with_absolute_paths(config: Config) -> Config:
    """The config whose paths are absolute, so that a resume finds them from wherever it is called."""
    named = {key: getattr(config.train, key) for key in ("start_from", "teacher")}
    absolute = {key: str(Path(path).resolve()) for key, path in named.items() if path is not None}
    sources = {
        name: source.model_copy(update={"path": str(Path(source.path).resolve())} if source.path else {})
        for name, source in config.sources.items()
    }
    return config.model_copy(update={"train": config.train.model_copy(update=absolute), "sources": sources})


def _override(tables: dict[str, object], override: str) -> None:
    key, equals, text = override.partition("=")
    if key.strip() in RENAMED:
        _warn_of_renaming("--set", key.strip())
    parts = RENAMED.get(key.strip(), key.strip()).split(".")
    if not equals or len(parts) != (3 if parts[0] == "sources" else 2) or not all(parts):
        raise ConfigError(
            f"--set {override!r}: expected table.key=value, for example train.epochs=10 or sources.NAME.weight=0.5"
        )
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    table = tables
    for part in parts[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{part}: expected a table, found {inner!r}")
        table = inner
    table[parts[-1]] = value


def _explain(error: ValidationError) -> str:
    """The first fault of a config in one line."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        table, _, key = where.rpartition(".")
        choices = list(Config.model_fields)
        if table.startswith("sources."):
            choices = list(SourceConfig.model_fields)
        elif table in Config.model_fields:
            annotation = Config.model_fields[table].annotation
            choices = list(annotation.model_fields) if isinstance(annotation, type) else choices  # type: ignore[attr-defined]
        return unknown_name(f"key in [{table}]" if table else "table", key, choices)
    is_table = fault["type"] in ("model_type", "dict_type")
    message = f"expected a table [{where}]" if is_table else fault["msg"].removeprefix("Value error, ")
    return f"{where + ': ' if where else ''}{message}" + (f" (found {fault['input']!r})" if where else "")
