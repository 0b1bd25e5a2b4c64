"""Makes a packaged model of a run: the ONNX file, its card, and its line in the index.

    python scripts/package_model.py runs/polyp-lite --name polyp-lite --precision int8 --default \
        --about "EfficientNet-Lite0 encoder, gated decoder" --command "polypseg train …" \
        --evaluate test --evaluate validation --evaluate cvc-clinicdb=data/cvc-clinicdb \
        --negatives polypgen-negatives=data/polypgen-negatives

    python scripts/package_model.py repaired.onnx --name polyp-lite --splits splits.json \
        --evaluate test=data/kvasir-seg --evaluate validation=data/kvasir-seg

    python scripts/package_model.py src/polypseg/predict/weights/polyp-lite.onnx --name polyp-lite --prove runs/many \
        --evaluate test --evaluate validation --evaluate cvc-clinicdb=data/cvc-clinicdb --work work

Before it, choose the run's threshold: `polypseg evaluate RUN --tune-threshold`. Every figure of the card is of the file
that ships: it is exported and proved, then scored on each data set in the default engine, then its Dice is measured
through every engine and instruction set of this machine, and the file is written once more with these figures in it.
What is finished is kept in the folder `--work` and not made again: the same command continues where it was stopped.
A file that was exported already keeps its card; what it says of figures is replaced, and without --evaluate only what
it says of the engines. With --prove it is proved again against what it computes in float, and looks again at close
calls: on the validation images of a run of the same split, or of the folder that it was trained on.
"""

import argparse
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import onnx

from polypseg.cli.console import track
from polypseg.data.samples import Sample
from polypseg.errors import ModelError
from polypseg.evaluate.evaluation import evaluate
from polypseg.evaluate.plan import Plan, model_digest, plan_model, plan_run
from polypseg.evaluate.reproduce import dices_by_engine, figure_of
from polypseg.evaluate.score import ScoreOptions
from polypseg.evaluate.selection import Selection
from polypseg.evaluate.strata import AREA_WAY, UNKNOWN
from polypseg.export.exported import open_exported
from polypseg.export.facts import figures_of
from polypseg.export.int8 import proved
from polypseg.export.onnx import ExportOptions, export_model
from polypseg.export.proof import Prover, proving_engines
from polypseg.predict.engines.model_file import read_model_file, write_model_file
from polypseg.predict.engines.opening import open_engine
from polypseg.predict.engines.packaged import FOLDER
from polypseg.predict.engines.restricted import engine_label
from polypseg.records.atomic import write_text
from polypseg.records.digests import file_digests
from polypseg.records.gates import load_gates
from polypseg.records.model_facts import DiceByEngine, ModelFacts
from polypseg.records.reading import FileKind, Saved, as_json, read_json
from polypseg.records.run import Run, open_run
from polypseg.records.summary import Summary
from polypseg.records.threshold import load_threshold
from polypseg.report.tables import figure, gate_rows, interval, negative_stratum_rows, stratum_rows

LICENCE = "Apache-2.0 for the file; the terms of the training data bind its use"

CARD_WAYS = (AREA_WAY, "source", "centre")
"""The ways of dividing the images that the card tells, where the data tell them."""


class Measured(Saved):
    """What was measured of a file so far: its mean Dice by data set and engine."""

    model_digest: str
    figures: dict[str, DiceByEngine]


MEASURED = FileKind("file of what was measured", ModelError, "remove it, and measure again")


def main() -> None:
    arguments = _arguments()
    work = arguments.work or Path(f"{arguments.source}-package")
    work.mkdir(parents=True, exist_ok=True)
    run = open_run(arguments.source) if arguments.source.is_dir() else None
    made = _exported(arguments, run, work)
    facts = read_model_file(made)[1]
    split = run or (open_run(arguments.prove) if arguments.prove and _is_run(arguments.prove) else None)
    plans = _plans(arguments, split, made)
    summaries = {name: _summary(made, plan, work / name) for name, plan in plans}
    dices = _dices(made, [plan for _, plan in plans], summaries, work / "dice.json")
    figures = {name: figures_of(summary) for name, summary in summaries.items()} or facts.figures
    proved = facts.dice_by_engine  # it knows the Dice of the source too
    dices = {name: _joined(proved[name], figure) if name in proved else figure for name, figure in dices.items()}
    facts = facts.model_copy(update={"figures": figures, "dice_by_engine": {**proved, **dices}})
    path = FOLDER / f"{arguments.name}.onnx"
    graph = onnx.load(made)
    del graph.metadata_props[:]
    card = _card(run, facts, summaries, arguments)
    write_model_file(path, graph.SerializeToString(), facts)
    write_text(FOLDER / f"{arguments.name}.md", card)
    _add_to_index(arguments, hashlib.sha256(path.read_bytes()).hexdigest())
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB), its card and the index")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a run folder, or an .onnx file that was exported and proved already")
    parser.add_argument("--name", required=True)
    parser.add_argument("--about", help="one line that says what it is")
    parser.add_argument("--version", default="1.0")
    parser.add_argument("--precision", default="int8", choices=("fp32", "fp16", "int8"))
    parser.add_argument("--method", default="onnxruntime", help="of int8; the base installation runs ONNX Runtime")
    parser.add_argument("--data", type=Path, help="where the run's images are now")
    parser.add_argument("--command", help="for the card: the training's command; several, a line each")
    parser.add_argument("--notes", type=Path, help="Markdown: known failures and remarks, for the card")
    parser.add_argument("--default", action="store_true", help="taken where no model is named")
    parser.add_argument("--work", type=Path, help="folder for what is finished; default: SOURCE-package")
    parser.add_argument("--prove", type=Path, help="prove the file again, on a run's validation images or a folder's")
    parser.add_argument("--splits", type=Path, help="split manifest, where the source is a file")
    evaluated = "NAME or NAME=DIR: a split of the run (or of --splits, in DIR), or all images in DIR; can be repeated"
    parser.add_argument("--evaluate", action="append", default=[], help=evaluated)
    parser.add_argument("--negatives", action="append", default=[], help="NAME=DIR: images without a polyp")
    arguments = parser.parse_args()
    if arguments.source.is_dir() and not (arguments.about and arguments.command):
        parser.error("a run's card needs --about and --command")
    return arguments


def _exported(arguments: argparse.Namespace, run: Run | None, work: Path) -> Path:
    """The exported and proved file: made now, or by an earlier call from the same checkpoint."""
    if run is None:
        return _proved_again(arguments, work) if arguments.prove else arguments.source
    path = work / f"{arguments.name}.onnx"
    if path.is_file():
        facts = read_model_file(path)[1]
        source = file_digests([run.best_path])[run.best_path]
        stored = load_threshold(run.folder)
        thresholds = (stored.threshold, stored.peak_threshold)
        made_of = (facts.source_digest, facts.precision, facts.version, facts.threshold, facts.peak_threshold)
        if made_of == (source, arguments.precision, arguments.version, *thresholds):
            print(f"{path}: exported by an earlier call")
            return path
        shutil.rmtree(work)
        work.mkdir()
    options = ExportOptions(
        precision=arguments.precision,
        method=arguments.method,
        name=arguments.name,
        model_version=arguments.version,
        licence=LICENCE,
    )
    for note in export_model(arguments.source, path, options, arguments.data, track).notes:
        print(f"note: {note}")
    return path


def _proved_again(arguments: argparse.Namespace, work: Path) -> Path:
    """The file with a new proof, of the second look too; made now, or by an earlier call from the same file."""
    path, digest = work / f"{arguments.name}.onnx", model_digest(arguments.source)
    told = work / "proved-from.txt"
    if path.is_file() and told.is_file() and told.read_text(encoding="utf-8") == digest:
        print(f"{path}: proved by an earlier call")
        return path
    is_of_run = _is_run(arguments.prove)
    opened = open_exported(arguments.source, None if is_of_run else arguments.prove)
    source = opened.source
    if is_of_run:
        source = replace(source, validation=_samples(plan_run(arguments.prove, None, Selection(split="validation"))))
    prover = Prover(source, bool(opened.facts.attention_levels), track)
    facts = opened.facts.model_copy(update={"second_look": opened.facts.precision == "int8"})
    facts = proved(opened.stored, facts, path, prover)
    write_model_file(path, opened.stored.SerializeToString(), facts)
    write_text(told, digest)
    return path


def _is_run(folder: Path) -> bool:
    return (folder / "config.toml").is_file()


def _samples(plan: Plan) -> list[Sample]:
    """The images of a plan that have masks."""
    return [
        Sample(case.name, case.image_path, case.reference_path, mask_rule=case.mask_rule)
        for case in plan.cases
        if case.image_path and case.reference_path
    ]


def _plans(arguments: argparse.Namespace, run: Run | None, made: Path) -> list[tuple[str, Plan]]:
    """What is scored, by the name that the card gives it, the file being what predicts."""
    found = []
    for text in arguments.evaluate:
        name, _, folder = text.partition("=")
        split = name if name in ("train", "validation", "test") else None
        if run is not None and split:
            plan = plan_run(run.folder, Path(folder) if folder else arguments.data, Selection(split=split))
            engine = open_engine(made)
            told = {"model": str(made), "model_digest": model_digest(made), "engine": engine.name}
            source = plan.source.model_copy(update=told)
            plan = replace(plan, engine=engine, source=source, loss=None, threshold=engine.threshold)
            plan = replace(plan, peak_threshold=engine.facts.peak_threshold)
        else:
            manifest = arguments.splits if split else None
            plan = plan_model(made, Path(folder), Selection(split=split, manifest=manifest))
        found.append((name, plan))
    for text in arguments.negatives:
        name, _, folder = text.partition("=")
        found.append((name, plan_model(made, Path(folder), Selection(negatives=True))))
    return found


def _summary(made: Path, plan: Plan, folder: Path) -> Summary:
    """The summary of a finished evaluation, in which it stands once what made it."""
    command = f"polypseg evaluate {made.name}"
    return evaluate(plan, folder, ScoreOptions(), search_leaks=False, command=command, track=track)[1]


def _dices(made: Path, plans: list[Plan], summaries: dict[str, Summary], kept: Path) -> dict[str, DiceByEngine]:
    """The entries of `dice_by_engine`, each kept as soon as it is measured."""
    digest = model_digest(made)
    found = read_json(kept, Measured, MEASURED) if kept.is_file() else None
    figures = dict(found.figures) if found is not None and found.model_digest == digest else {}
    with proving_engines(made) as engines:
        for (name, summary), plan in zip(summaries.items(), plans, strict=True):
            if name in figures or not summary.num_polyp_images:
                continue
            samples = _samples(plan)
            figures[name] = figure_of(dices_by_engine(engines, samples, track), samples)
            write_text(kept, as_json(Measured(model_digest=digest, figures=figures)) + "\n")
    return figures


def _joined(proved: DiceByEngine, measured: DiceByEngine) -> DiceByEngine:
    """A figure measured again, with what the proof alone knows: the source, and the images that are far from it."""
    engines = dict(measured.engines)
    for name, found in engines.items():
        if name in proved.engines:
            engines[name] = found.model_copy(update={"apart": proved.engines[name].apart})
    return measured.model_copy(update={"source": proved.source, "engines": engines})


def _card(run: Run | None, facts: ModelFacts, summaries: dict[str, Summary], arguments: argparse.Namespace) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=loader
    )
    engine = next((summary.provenance.engine or "" for summary in summaries.values()), "")
    values: dict[str, Any] = {"facts": facts, "summaries": summaries, "engine": engine_label(engine)}
    values |= {"stratum_rows": _stratum_rows(summaries), "negative_rows": _negative_rows(summaries)}
    if run is None:
        kinds = ("rows", "figures" if summaries else "engines")
        rows, figures = (environment.get_template(f"packaged_{kind}.md.j2").render(values) for kind in kinds)
        return _mended(FOLDER / f"{arguments.name}.md", rows, figures)
    gates = load_gates(run.folder)
    if gates is not None and gates.model_digest != facts.source_digest:
        gates = None
    values |= {
        "gates": gates,
        "gate_rows": gate_rows(gates) if gates else [],
        "about": arguments.about,
        "command": arguments.command,
        "config": _settings(run),
        "history": run.history(),
        "notes": arguments.notes.read_text(encoding="utf-8").strip() if arguments.notes else "",
    }
    return environment.get_template("packaged_card.md.j2").render(values) + "\n"


def _stratum_rows(summaries: dict[str, Summary]) -> list[list[str]]:
    """Data, way, stratum, images, mean Dice, its interval, mean IoU and mean recall, over images with a polyp."""
    return [
        [name, way, *row[:4], *row[5:7]]
        for name, summary in summaries.items()
        for way in CARD_WAYS
        for row in stratum_rows(summary.strata.get(way, {}))
    ]


def _negative_rows(summaries: dict[str, Summary]) -> list[list[str]]:
    """Data, way, stratum, frames and their shares with false regions, over frames without a polyp."""
    rows = []
    for name, summary in summaries.items():
        if (found := summary.negatives) is None or found.large_false_positive is None:
            continue
        large, any_ = found.large_false_positive.times(100), found.any_false_positive.times(100)
        cells = [str(found.num_images), f"{figure(large.mean)} %", interval(large), f"{figure(any_.mean)} %"]
        rows.append([name, "", "all", *cells])
        ways = negative_stratum_rows(summary)
        told = {way: own for way, own in ways.items() if [row[0] for row in own] != [UNKNOWN]}
        rows += [[name, way, *row] for way in CARD_WAYS for row in told.get(way, ())]
    return rows


def _mended(card: Path, rows: str, figures: str) -> str:
    """A card whose run is not at hand, with other rows on its precision and proof, and other figures.

    Where nothing was scored now, its own table stays, and the table of the engines follows it. Other sections stay.
    """
    old = ("| precision |", "| saturating sums |", "| largest difference")
    lines = [line for line in card.read_text(encoding="utf-8").splitlines() if not line.startswith(old)]
    place = next(number for number, line in enumerate(lines) if line.startswith("| licence |"))
    begin = lines.index("## Figures")
    end = next(n for n in range(begin + 1, len(lines)) if lines[n].startswith("## "))
    if not figures.startswith("## Figures"):
        begin = next((n for n in range(begin, end) if lines[n].startswith(figures.split("(")[0])), end)
    new = [*rows.strip().splitlines(), *lines[place:begin], *figures.strip().splitlines(), "", *lines[end:]]
    return "\n".join([*lines[:place], *new]) + "\n"


def _settings(run: Run) -> str:
    """The run's settings, without the paths of the machine that it was trained on."""
    text, config = run.config_path.read_text(encoding="utf-8").strip(), run.config()
    sources = [source.path for source in config.sources.values()]
    for path in filter(None, (config.train.start_from, config.train.teacher, *sources)):
        text = text.replace(path, Path(path).name)
    return text


def _add_to_index(arguments: argparse.Namespace, sha256: str) -> None:
    index = FOLDER / "index.json"
    entries = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else []
    known = next((entry for entry in entries if entry["name"] == arguments.name), {})
    about = arguments.about or known.get("about", "")
    default = arguments.default or (arguments.about is None and known.get("default", False))
    entries = [entry for entry in entries if entry["name"] != arguments.name]
    entry = {"name": arguments.name, "sha256": sha256, "about": about, "default": default}
    entries = sorted([*entries, entry], key=lambda known: (not known["default"], known["name"]))
    index.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
