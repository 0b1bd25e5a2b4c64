"""Makes a packaged model of a run: the ONNX file, its card, and its line in the index.

    python scripts/package_model.py runs/polyp-lite --name polyp-lite --precision int8 --default \
        --about "EfficientNet-Lite0 encoder, gated decoder" --data ../data/kvasir-seg

Before it, evaluate the run: `polypseg evaluate RUN --tune-threshold`, then `polypseg evaluate RUN`, and what else the
card shall tell (`--data OTHER -o RUN/evaluation/NAME`). The card holds figures of exactly this checkpoint.
"""

import argparse
import hashlib
import json
from pathlib import Path

import jinja2

from polypseg.export.onnx import ExportOptions, export_model
from polypseg.predict.engines.packaged import FOLDER
from polypseg.records.gates import load_gates
from polypseg.records.model_facts import ModelFacts
from polypseg.records.run import Run, open_run
from polypseg.report.tables import gate_rows

LICENCE = "Apache-2.0 for the file; the terms of the training data bind its use"


def main() -> None:
    arguments = _arguments()
    run = open_run(arguments.run)
    path = FOLDER / f"{arguments.name}.onnx"
    path.parent.mkdir(exist_ok=True)
    options = ExportOptions(
        precision=arguments.precision,
        method=arguments.method,
        name=arguments.name,
        model_version=arguments.version,
        licence=LICENCE,
    )
    facts = export_model(arguments.run, path, options, arguments.data).facts
    card = _card(run, facts, arguments)
    (FOLDER / f"{arguments.name}.md").write_text(card, encoding="utf-8")
    _add_to_index(arguments, hashlib.sha256(path.read_bytes()).hexdigest())
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB), its card and the index")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--about", required=True, help="one line that says what it is")
    parser.add_argument("--version", default="1.0")
    parser.add_argument("--precision", default="int8", choices=("fp32", "fp16", "int8"))
    parser.add_argument("--method", default="onnxruntime", help="of int8; the base installation runs ONNX Runtime")
    parser.add_argument("--data", type=Path, help="where the run's images are now")
    parser.add_argument("--command", required=True, help="for the card: the training's command; several, a line each")
    parser.add_argument("--notes", type=Path, help="Markdown: known failures and remarks, for the card")
    parser.add_argument("--default", action="store_true", help="taken where no model is named")
    return parser.parse_args()


def _card(run: Run, facts: ModelFacts, arguments: argparse.Namespace) -> str:
    template = Path(__file__).with_name("packaged_card.md.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    summaries = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((run.folder / "evaluation").glob("*/summary.json"))
    }
    same = {name: s for name, s in summaries.items() if s["provenance"]["model_digest"] == facts.source_digest}
    gates = load_gates(run.folder)
    if gates is not None and gates.model_digest != facts.source_digest:
        gates = None
    values = {
        "facts": facts,
        "gates": gates,
        "gate_rows": gate_rows(gates) if gates else [],
        "about": arguments.about,
        "command": arguments.command,
        "config": _settings(run),
        "history": run.history(),
        "summaries": {name: same[name] for name in sorted(same, key=_order)},
        "notes": arguments.notes.read_text(encoding="utf-8").strip() if arguments.notes else "",
        "cores": run.environment().get("cores"),
    }
    return environment.from_string(template).render(values) + "\n"


def _settings(run: Run) -> str:
    """The run's settings, without the paths of the machine that it was trained on."""
    text, config = run.config_path.read_text(encoding="utf-8").strip(), run.config()
    sources = [source.path for source in config.sources.values()]
    for path in filter(None, (config.train.start_from, config.train.teacher, *sources)):
        text = text.replace(path, Path(path).name)
    return text


def _order(name: str) -> tuple[int, str]:
    first = ("test", "validation")
    return first.index(name) if name in first else len(first), name


def _add_to_index(arguments: argparse.Namespace, sha256: str) -> None:
    index = FOLDER / "index.json"
    entries = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else []
    entries = [entry for entry in entries if entry["name"] != arguments.name]
    entry = {"name": arguments.name, "sha256": sha256, "about": arguments.about, "default": arguments.default}
    entries = sorted([*entries, entry], key=lambda known: (not known["default"], known["name"]))
    index.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
