"""`polypseg models`: what the package ships, and what each model says of itself."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polypseg.errors import plural

if TYPE_CHECKING:
    from polypseg.predict.engines.packaged import Packaged
    from polypseg.records.model_facts import DiceByEngine, StatedFigures, StatedScore


def models(
    name: Annotated[str | None, typer.Argument(metavar="NAME|FILE", help="Print this model's card.")] = None,
    export_to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Copy the model file and its card into this folder.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Measure the model's stated Dice again on the images in this folder."),
    ] = None,
    engine: Annotated[str, typer.Option(metavar="NAME", help="With --check: auto, onnxruntime or openvino.")] = "auto",
) -> None:
    """List the included models: size, parameters, threshold, training protocol, figures and terms.

    With a name, prints the card of the model; with a file that polypseg exported, the facts stored in it. With
    --check, tells whether this machine reproduces the stated Dice to 0.002, for each data set in the folder; the exit
    code is 1 if it does not.

    [bold]Examples[/bold]

    polypseg models

    polypseg models polyp-lite --export-to deploy/

    polypseg models polyp-lite --check data/kvasir-seg
    """
    from rich.markup import escape

    from polypseg.cli.console import console
    from polypseg.errors import ModelError, UsageError, unknown_name
    from polypseg.predict.engines.packaged import export_copy, packaged_models
    from polypseg.records.paired_models import exported_facts

    known = {model.name: model for model in packaged_models()}
    if check is not None:
        _check(name, check, engine)
        return
    if name is None:
        if export_to is not None:
            raise UsageError("--export-to needs the name of a model")
        if not known:
            raise ModelError("this installation holds no packaged models; name a run folder or an .onnx file instead")
        for model in known.values():
            console.print("\n".join(_lines(model)), end="\n\n")
        return
    if name in known and not Path(name).is_file():
        if export_to is None:
            console.print(escape(known[name].card.read_text(encoding="utf-8")), end="")
            return
        for path in export_copy(known[name], export_to):
            console.print(escape(f"wrote {path}"))
        return
    if export_to is not None or not Path(name).exists():
        raise ModelError(unknown_name("packaged model", name, known) + "; or give an exported file")
    facts = exported_facts(Path(name))
    for words, figure in facts.dice_by_engine.items():
        console.print(escape(f"mean Dice, {words}: {engine_words(figure)}"))
    told_apart = {"figures", "dice_by_engine", "self_test", "seen_images"}
    for key, value in facts.model_dump(mode="json", exclude=told_apart).items():
        if value not in ("", None, []):
            console.print(escape(f"{key}: {value}"))
    if facts.figures:
        console.print(escape(f"figures: {'; '.join(_figures(facts.figures))}"))


def _lines(model: "Packaged") -> Iterator[str]:
    """What the list says of a packaged model."""
    from rich.markup import escape

    from polypseg.records.onnx_metadata import read_facts

    facts = read_facts(model.path)
    parts = [f"{model.path.stat().st_size / 1e6:.1f} MB", f"{facts.size} px", facts.precision]
    if facts.num_parameters is not None:
        parts.insert(1, f"{facts.num_parameters / 1e6:.2f} M parameters")
    default = " (default)" if model.default else ""
    yield f"[bold]{escape(model.name)}[/bold]{default}  {', '.join(parts)}, threshold {facts.threshold:.3g}"
    yield f"  {escape(model.about)}"
    trained = facts.protocol or facts.training_data
    if trained:
        yield f"  trained on: {escape(trained)}"
    yield f"  sees: {'the lit field of a frame' if facts.field == 'auto' else 'the whole frame'}"
    for figure in _figures(facts.figures):
        yield f"  {escape(figure)}"
    for words, found in facts.dice_by_engine.items():
        yield f"  {escape(f'mean Dice, {words}, {engine_words(found)}')}"
    if facts.saturating_sums is not None:
        yield f"  {escape(processor_words(facts.saturating_sums))}"
    for label, text in (("weights", facts.licence), ("data", facts.terms)):
        if text:
            yield f"  {label}: {escape(text)}"


def processor_words(saturating_sums: int) -> str:
    """On which processors an int8 file gives the same, by its saturating sums."""
    if saturating_sums == 0:
        return "the same integers on every processor, AVX2 and newer"
    return f"{saturating_sums} sums saturate on processors without int8 dot products: other masks there"


def _check(name: str | None, data: Path, engine: str) -> None:
    """Print whether this machine reproduces a model's figures.

    Raises:
        ModelError: It does not.
    """
    from polypseg.cli.console import console, track
    from polypseg.errors import ModelError
    from polypseg.evaluate.reproduce import TOLERANCE
    from polypseg.evaluate.reproduce import check as check_figures
    from polypseg.predict.engines.opening import open_engine
    from polypseg.predict.engines.packaged import resolve
    from polypseg.predict.engines.restricted import engine_label

    opened = open_engine(resolve(name), engine)
    checked = check_figures(opened, data, track)
    for each in checked:
        said = ", ".join(f"{key} {value:.4f}" for key, value in each.stated.items())
        verdict = "reproduced" if each.is_reproduced else f"NOT reproduced: {each.change:+.4f}"
        console.print(
            f"{each.name}, {plural(each.num_images, 'image')}: here, in {engine_label(opened.name)}, {each.found:.4f}; "
            f"stated {said}: {verdict}",
            markup=False,
        )
    wrong = [each.name for each in checked if not each.is_reproduced]
    if wrong:
        raise ModelError(
            f"{opened.facts.name}: this machine does not give the stated Dice to {TOLERANCE} on: {', '.join(wrong)}; "
            "take another --engine, or an fp32 export"
        )


def engine_words(figures: "DiceByEngine") -> str:
    """A data set's figures by engine and instruction set, as one line tells them."""
    parts = [f"source {figures.source:.4f}"] if figures.source is not None else []
    for name, found in figures.engines.items():
        apart = f" ({plural(found.apart, 'image')} apart)" if found.apart else ""
        parts.append(f"{name} {found.dice:.4f}{apart}")
    return f"{plural(figures.images, 'image')}: {', '.join(parts)}"


def _figures(figures: Mapping[str, "StatedFigures"]) -> list[str]:
    """A line for each data set: its figures by name, with their intervals."""
    found = []
    for data, stated in figures.items():
        values = [f"images {stated.num_images}"] if stated.num_images else []
        values += [f"{name} {_score(score)}" for name, score in stated.scores().items()]
        found.append(f"{data}: {', '.join(values)}")
    return found


def _score(score: "StatedScore") -> str:
    limits = score.low is not None and score.high is not None
    return f"{score.mean:.3f}" + (f" ({score.low:.3f} to {score.high:.3f})" if limits else "")
