"""Whether a scored image was seen in training: by its bytes, and by what it shows.

Decisions:
- Training means the training and the validation split: the one made the weights, the other chose among them.
- What is found is told, not removed: a published split stays as it is, and its leaks stand beside its figures.
- The search takes its time once: its result is kept in the run folder, by the digests of both sides.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from polypseg.data.catalogue import find_samples
from polypseg.data.duplicates import similar_across
from polypseg.data.samples import Fault, Sample
from polypseg.errors import DataError, ScoreError
from polypseg.evaluate.plan import Plan
from polypseg.evaluate.selection import ImageToScore
from polypseg.progress import Track, silent
from polypseg.records.atomic import write_text
from polypseg.records.evaluation import RUN_FOLDER
from polypseg.records.reading import FileKind, as_json, read_json
from polypseg.records.seen import unpack
from polypseg.records.summary import LeakRecord, LeakReport
from polypseg.train.samples import run_samples

TRAINING = ("train", "validation")


_Kept = dict[str, tuple[LeakRecord, ...]]
"""Leaks by the digests of both sides."""


def find_leaks(plan: Plan, leave_out: Sequence[str] = (), search: bool = True, track: Track = silent) -> LeakReport:
    """The scored images that the run saw in training.

    Args:
        plan: What was scored. Images of the training splits themselves are no leak where they were asked for.
        leave_out: Names that could not be scored.
        search: Look for near-duplicates too; identical files are always found.
        track: Shows progress.
    """
    if plan.manifest is None:
        return LeakReport(unchecked=_of_the_file(plan))
    if plan.label in TRAINING:
        return LeakReport(unchecked=f"the {plan.label} split itself was scored")
    fresh = [case for case in plan.cases if case.name not in leave_out and not _is_asked_for(case, plan)]
    identical = _identical(fresh, plan)
    if not search:
        return LeakReport(pairs=identical, unchecked="near-duplicates were not looked for (--no-leaks)")
    training = _training_samples(plan)
    if not training:
        missing = "the training images are not where they were (pass their folder as the run's data)"
        return LeakReport(pairs=identical, unchecked=missing)
    met = {(leak.scored, leak.training) for leak in identical}
    similar = [leak for leak in _similar(fresh, training, plan, track) if (leak.scored, leak.training) not in met]
    return LeakReport(pairs=tuple(sorted((*identical, *similar), key=lambda leak: -leak.similarity)), unchecked="")


def _of_the_file(plan: Plan) -> str:
    """Why nothing was looked for where no manifest is there, and what a model's own file tells of its images."""
    seen = unpack(plan.engine.facts.seen_images) if plan.engine else ()
    if not len(seen):
        return "what the model was trained on is not known"
    num_seen = sum(case.digests[0] in seen for case in plan.cases)
    return (
        "the model's file lists digests of the images it was trained and validated on, not the images; by them "
        f"{num_seen} of the {len(plan.cases)} scored images are the same files"
    )


def _is_asked_for(case: ImageToScore, plan: Plan) -> bool:
    return plan.label == "all" and case.split in TRAINING


def _identical(cases: Sequence[ImageToScore], plan: Plan) -> tuple[LeakRecord, ...]:
    """Cases whose bytes are those of a training image."""
    entries = plan.manifest.entries.items() if plan.manifest else ()
    seen = {entry.image_digest: (name, entry.split) for name, entry in entries if entry.split in TRAINING}
    found = [(case.name, *seen[case.digests[0]]) for case in cases if case.digests[0] in seen]
    return tuple(
        LeakRecord(scored=scored, training=training, split=split, similarity=1.0, is_identical=True)
        for scored, training, split in found
    )


def _training_samples(plan: Plan) -> list[Sample]:
    """The training and validation samples, from the data that are scored or from where the run had its own."""
    if plan.manifest is None:
        return []
    wanted = {name for name, entry in plan.manifest.entries.items() if entry.split in TRAINING}
    finders: list[Callable[[], tuple[list[Sample], list[Fault]]]]
    finders = [partial(find_samples, Path(plan.source.data_folder), empty_masks=True)]
    finders += [partial(run_samples, plan.run)] if plan.run else []
    for find in finders:
        try:
            samples, _ = find()
        except DataError:
            continue
        found = [sample for sample in samples if sample.name in wanted]
        if len(found) == len(wanted):
            return found
    return []


def _similar(
    cases: Sequence[ImageToScore], training: Sequence[Sample], plan: Plan, track: Track
) -> tuple[LeakRecord, ...]:
    with_image = [case for case in cases if case.image_path is not None]
    digests = "".join(case.digests[0] for case in with_image) + (plan.manifest.digest() if plan.manifest else "")
    key = hashlib.sha256(digests.encode()).hexdigest()
    path = plan.run.folder / RUN_FOLDER / "near-duplicates.json" if plan.run else None
    kept = _kept(path)
    if key not in kept:
        kept[key] = tuple(_search(with_image, training, plan, track))
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, as_json(kept))
    return kept[key]


def _search(cases: Sequence[ImageToScore], training: Sequence[Sample], plan: Plan, track: Track) -> list[LeakRecord]:
    paths = [case.image_path for case in cases if case.image_path is not None]
    entries = plan.manifest.entries if plan.manifest else {}
    return [
        LeakRecord(
            scored=cases[pair.first].name,
            training=training[pair.second].name,
            split=entries[training[pair.second].name].split,
            similarity=pair.similarity,
            is_identical=pair.is_identical,
        )
        for pair in similar_across(paths, [sample.image_path for sample in training], track=track)
    ]


def _kept(path: Path | None) -> _Kept:
    """Earlier results by key; a damaged file is as none, for all of it can be found again."""
    if path is None or not path.is_file():
        return {}
    try:
        return read_json(path, _Kept, FileKind("list of near-duplicates", ScoreError, "remove it"))
    except ScoreError:
        return {}
