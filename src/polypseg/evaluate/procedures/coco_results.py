"""Findings as a COCO results list, and references as COCO with lesion ids: what other evaluators read.

coco_results.json    a list of image_id, category_id, bbox, score, file_name, area_percent, track
coco_references.json images, annotations with `lesion_id` and `unique_id`, lesions with their looks

Decisions:
- A frame is named PROCEDURE_KEY, without a dot, a folder or an ending in it that an evaluator might cut: a dot in a
  name becomes `-`, and two frames that would then have one name stop the work. `image_id` is that text, which
  `true-colon` reads with `id_source="pred_string"`; the references have numbers and the name with `.png`.
- The score is the region's maximum, and regions go down to the low threshold at which they were looked for.
- A lesion's `unique_id` begins with its procedure, as TRUE-Colon takes the video's name from it.
"""

import json
import re
from pathlib import Path

from polypseg.errors import ScoreError
from polypseg.evaluate.procedures.facts import Facts
from polypseg.evaluate.procedures.findings import NO_TRACK
from polypseg.evaluate.procedures.references import Sights
from polypseg.records.atomic import write_text

RESULTS_NAME, REFERENCES_NAME = "coco_results.json", "coco_references.json"


def write_coco_results(facts: Facts, out: Path) -> list[Path]:
    """The two paths, once they are written; references of intervals have no boxes and are not written.

    Raises:
        ScoreError: Two frames would have one name.
    """
    names = frame_names(facts)
    paths = [out / RESULTS_NAME]
    out.mkdir(parents=True, exist_ok=True)
    write_text(paths[0], _lines(results(facts, names)))
    if facts.procedures.is_located:
        paths.append(out / REFERENCES_NAME)
        write_text(paths[1], json.dumps(references(facts, names)) + "\n")
    return paths


def frame_names(facts: Facts) -> list[str]:
    """The name of each frame, PROCEDURE_KEY; a key that begins with its procedure is taken alone.

    Raises:
        ScoreError: Two frames would have one name.
    """
    names = []
    for owner, key in zip(facts.procedures.procedure.tolist(), facts.keys, strict=True):
        procedure = facts.procedures.names[owner]
        name = key if key.startswith(f"{procedure}_") else f"{procedure}_{key}"
        names.append(re.sub(r"[./\\]", "-", name))
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ScoreError(f"two frames would be named {twice}; rename procedures or frames")
    return names


def results(facts: Facts, names: list[str]) -> list[dict[str, object]]:
    """The results list."""
    found = facts.findings
    rows = zip(
        found.frame.tolist(), found.box.tolist(), found.score.tolist(), found.percent.tolist(), found.track.tolist(),
        strict=True,
    )  # fmt: skip
    listed: list[dict[str, object]] = []
    for frame, box, score, percent, track in rows:
        one: dict[str, object] = {"image_id": names[frame], "category_id": 1, "bbox": box, "score": score}
        if percent == percent:
            one["area_percent"] = percent
        if track != NO_TRACK:
            one["track"] = track
        listed.append(one)
    return listed


def references(facts: Facts, names: list[str], size: tuple[int, int] | None = None) -> dict[str, object]:
    """The COCO content of references.

    Args:
        facts: All that is known.
        names: Of the frames.
        size: Height and width of the frames, where they are known.
    """
    procedures, sights = facts.procedures, facts.sights
    shape = {} if size is None else {"height": size[0], "width": size[1]}
    images = [
        {
            "id": place + 1,
            "file_name": f"{name}.png",
            "procedure": procedures.names[owner],
            "seconds": seconds,
            **shape,
        }
        for place, (name, owner, seconds) in enumerate(
            zip(names, procedures.procedure.tolist(), procedures.seconds.tolist(), strict=True)
        )
    ]
    lesions = [{"id": name, **facts.looks.get(name, {})} for name in sights.lesions]
    return {
        "images": images,
        "annotations": _annotations(procedures.names, sights),
        "categories": [{"id": 1, "name": "polyp"}],
        "lesions": lesions,
    }


def _annotations(names: tuple[str, ...], sights: Sights) -> list[dict[str, object]]:
    owners = sights.lesion_procedure.tolist()
    unique = [
        lesion if lesion.startswith(f"{names[owner]}_") else f"{names[owner]}_{lesion}"
        for lesion, owner in zip(sights.lesions, owners, strict=True)
    ]
    rows = zip(sights.frame.tolist(), sights.lesion.tolist(), sights.box.tolist(), strict=True)
    return [
        {
            "id": place + 1,
            "image_id": frame + 1,
            "category_id": 1,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
            "lesion_id": sights.lesions[lesion],
            "unique_id": unique[lesion],
        }
        for place, (frame, lesion, box) in enumerate(rows)
    ]


def _lines(listed: list[dict[str, object]]) -> str:
    """A list with a record a line."""
    return "[" + ",\n".join(json.dumps(one) for one in listed) + "]\n"
