"""Several folders of data as one: the samples of each keep their source's name.

Decisions:
- With several sources a sample's name begins with its source's, so that names stay unique; with one folder nothing
  changes.
- A folder without masks is a source only where it was declared to show no polyp; one that was declared so must hold no
  masks.
- A group's name that two sources share is refused: nobody but the user knows whether it is one patient. Running numbers
  are each table's own and are not compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from polypseg.config import Config, DataConfig, SourceConfig
from polypseg.data.catalogue import find_samples
from polypseg.data.layouts import recognise
from polypseg.data.samples import Fault, Sample
from polypseg.errors import DataError, PairingError, UsageError, listed, plural
from polypseg.preprocess import AUTOMATIC, MaskRule


def with_folders(config: Config, folders: Sequence[Path], negatives: Sequence[Path] = ()) -> Config:
    """The config whose sources are the folders; the settings that it has for a source by name are kept.

    Args:
        config: May have tables [sources.NAME].
        folders: With images and masks.
        negatives: Without masks: no frame shows a polyp.

    Raises:
        UsageError: A folder is named twice, or a source has no folder.
    """
    given = [*folders, *negatives]
    refuse_twice(given)
    if len(given) == 1 and not negatives and not config.sources:
        return config
    sources = dict(config.sources)
    for name, folder in zip(source_names(given), given, strict=True):
        update = {"path": str(folder.resolve()), "negatives": folder in negatives or _declared(config, name)}
        sources[name] = sources.get(name, SourceConfig()).model_copy(update=update)
    homeless = [name for name, source in sources.items() if source.path is None]
    if homeless:
        raise UsageError(
            f"the config has settings for the source {homeless[0]!r}, and no folder of that name was named; "
            f"name it (--data or --negatives), or set sources.{homeless[0]}.path"
        )
    return config.model_copy(update={"sources": sources})


def refuse_twice(folders: Sequence[Path]) -> None:
    """Nothing, if each folder is named once.

    Raises:
        UsageError: One is named twice.
    """
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise UsageError(f"{folder}: this folder is named twice; name each folder of data once")
        seen.add(folder.resolve())


def source_names(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: the last part of its path, with the part before it where two would be the same.

    Raises:
        UsageError: Two are still the same.

    >>> source_names([Path("/a/kvasir-seg"), Path("/b/images"), Path("/c/images")])
    ['kvasir-seg', 'b_images', 'c_images']
    """
    lasts = [folder.resolve().name or "data" for folder in folders]
    names = [
        last if lasts.count(last) == 1 else f"{folder.resolve().parent.name}_{last}"
        for folder, last in zip(folders, lasts, strict=True)
    ]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(f"two folders of data are called {repeated[0]}; rename one, so that results can name them")
    return [name.replace(".", "_") for name in names]


def find_source_samples(
    sources: Mapping[str, SourceConfig], rule: MaskRule = AUTOMATIC
) -> tuple[list[Sample], list[Fault]]:
    """The samples of all sources, in order of their names, and the files that do not pair.

    Args:
        sources: By name, each with a path.
        rule: What means polyp in the mask files of all of them.

    Raises:
        PairingError: A folder is no data set, has images without masks and was not declared to show no polyp, or was
            declared so and holds masks.
        DataError: A group's name is in two sources, or a file of groups is damaged.
    """
    samples: dict[str, list[Sample]] = {}
    faults: list[Fault] = []
    for name, source in sources.items():
        samples[name], unpaired = samples_of_source(Path(source.path or ""), source.negatives, rule)
        faults += unpaired
    return as_one(samples), faults


def as_one(samples: Mapping[str, Sequence[Sample]]) -> list[Sample]:
    """The samples of all sources in order of their names, which begin with their source's, as those of groups do.

    Args:
        samples: By source, with the names that they have in it.

    Raises:
        DataError: A group's name is in two sources.
    """
    named = [
        replace(sample, name=source_name(source, sample), source=source)
        for source, found in samples.items()
        for sample in found
    ]
    _refuse_shared_groups(named)
    named = [replace(sample, group=sample.group and f"{sample.source}_{sample.group}") for sample in named]
    return sorted(named, key=lambda sample: sample.name)


def source_name(source: str, sample: Sample) -> str:
    """The name of a sample among several sources."""
    return f"{source}_{sample.name}"


def own_name(sample: Sample) -> str:
    """The sample's name within its source."""
    return sample.name if sample.source is None else sample.name.removeprefix(f"{sample.source}_")


def draws(samples: Sequence[Sample], sources: Mapping[str, SourceConfig], config: DataConfig) -> tuple[float, ...]:
    """How often an epoch shows each training sample, on average; empty where all are shown once.

    Args:
        samples: That are trained on.
        sources: By name, with their weights.
        config: Its `sampling`.
    """
    weights = {name: source.weight for name, source in sources.items()}
    names = [sample.source or "" for sample in samples]
    present = {name: names.count(name) for name in dict.fromkeys(names)}
    if config.sampling == "balanced":
        share = len(samples) / len(present)
        weights = {name: weights.get(name, 1.0) * share / count for name, count in present.items()}
    if all(weights.get(name, 1.0) == 1.0 for name in present):
        return ()
    return tuple(weights.get(name, 1.0) for name in names)


def _declared(config: Config, name: str) -> bool:
    return name in config.sources and config.sources[name].negatives


def samples_of_source(
    folder: Path, negatives: bool, rule: MaskRule = AUTOMATIC, empty_masks: bool = False
) -> tuple[list[Sample], list[Fault]]:
    """The samples of one folder, with the names that they have in it, and the files that do not pair.

    Args:
        folder: As `find_samples` takes it.
        negatives: No frame shows a polyp, and there are no masks.
        rule: What means polyp in the mask files.
        empty_masks: As in `find_samples`.

    Raises:
        PairingError: It is no data set, or was declared to show no polyp and holds masks.
    """
    if not negatives:
        return find_samples(folder, empty_masks, rule)
    parts = recognise(folder).parts
    masks = next((f"masks ({part.masks.name}/)" for part in parts if part.masks is not None), "")
    annotations = next(
        (f"annotations ({part.annotations.title})" for part in parts if part.annotations is not None), ""
    )
    if masks or annotations:
        raise PairingError(
            f"{folder}: declared to show no polyp, and it holds {masks or annotations}; name it with --data, or move "
            f"the {'masks' if masks else 'annotations'} away"
        )
    return find_samples(folder, empty_masks=True)


def _refuse_shared_groups(samples: Sequence[Sample]) -> None:
    homes: dict[str, set[str]] = {}
    for sample in samples:
        if sample.group is not None and sample.source is not None and not sample.group.isdecimal():
            homes.setdefault(sample.group, set()).add(sample.source)
    shared = sorted(group for group, names in homes.items() if len(names) > 1)
    if shared:
        names = " and ".join(sorted(homes[shared[0]]))
        raise DataError(
            f"{plural(len(shared), 'group has', 'groups have')} "
            f"the same name in {names}; expected each sequence or patient in one source: "
            f"rename them in one table of groups, or put the folders together{listed(shared)}"
        )
