"""`polypseg explain`: how far the pictures of a model's attention can be believed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polypseg.errors import plural

if TYPE_CHECKING:
    from polypseg.records.explanation import Explanation

COLUMNS = ("name", "auroc", "energy_inside", "deletion", "insertion", "randomised", "dice_lost")


def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An included model, .onnx file or run folder.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Frames with masks.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Folder for the table and the figure.",
            show_default="RUN/explanation, where polypseg report finds them",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of frames.")] = 40,
    steps: Annotated[int, typer.Option(min=1, help="Steps of deletion and insertion.")] = 10,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
) -> None:
    """Score a model's attention: does it lie on the polyp, and does the model follow it?

    Writes explanation.csv (one row per map), explanation.json and explanation.png. The gates are compared with the
    probability and a random map. For runs and .keras files, they are also compared with the gradient and with the gates
    of random weights, and each gate is replaced by its mean. polypseg report shows the table and the figure if they are
    in RUN/explanation/, or in a folder explanation/ beside the scores.

    [bold]Examples[/bold]

    polypseg explain polyp-lite --data data/cvc-clinicdb -o attention/

    polypseg explain runs/kvasir --data data/cvc-clinicdb --limit 100
    """
    from rich.markup import escape

    from polypseg.cli.console import console, import_keras_for, track
    from polypseg.data.catalogue import find_samples
    from polypseg.data.samples import refuse
    from polypseg.errors import UsageError
    from polypseg.explain.explaining import explain_model
    from polypseg.predict.engines.packaged import resolve
    from polypseg.predict.predictor import load
    from polypseg.records.atomic import write_text
    from polypseg.records.explanation import FOLDER, NAME, save_explanation
    from polypseg.report.explanation import explanation_figure

    path = resolve(model)
    if out is None and not path.is_dir():
        raise UsageError("missing -o FOLDER: name a folder for the table and the figure")
    out = path / FOLDER if out is None else out
    if (out / NAME).exists() and not overwrite:
        raise UsageError(f"{out / NAME} exists; replace it with --overwrite, or name another folder")
    samples, unpaired = find_samples(data)
    refuse(unpaired, skip_bad=False)
    import_keras_for(path)
    record = explain_model(path, load(path), samples, limit, steps, track)
    out.mkdir(parents=True, exist_ok=True)
    written = [save_explanation(out, record)]
    write_text(out / "explanation.csv", _table(record))
    written += [out / "explanation.csv", explanation_figure(record, out / "explanation.png")]
    for each in record.maps:
        console.print(
            f"{each.name:12s} AUROC {each.auroc:.3f}  inside {each.energy_inside:.3f}  deletion {each.deletion:.3f}  "
            f"insertion {each.insertion:.3f}"
        )
    console.print(escape(f"{plural(record.num_frames, 'frame')}; wrote {', '.join(map(str, written))}"))


def _table(record: "Explanation") -> str:
    """The rows of explanation.csv; what was not measured is `nan`."""
    lines = [",".join(COLUMNS)]
    for each in record.maps:
        values = each.model_dump()
        numbers = ["nan" if values[key] is None else f"{values[key]:.6f}" for key in COLUMNS[1:]]
        lines.append(",".join([each.name, *numbers]))
    return "\n".join(lines) + "\n"
