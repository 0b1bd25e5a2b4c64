"""`polypseg calibrate`: outer and inner masks with a promise, from frames of the user's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polypseg.cli.mask_options import MaskChannel, PolypColours, PolypValues

if TYPE_CHECKING:
    from polypseg.explain.calibrating import Calibrated, Promise


def calibrate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An included model, .onnx file or run folder.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Frames with masks, which the model was not trained on.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="NAME.json", help="File for the calibration.")
    ] = None,
    store: Annotated[
        bool,
        typer.Option("--store", help="Store it with the model (run or .onnx file): predict and serve find it there."),
    ] = False,
    risk: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="missed: the outer mask misses at most a share of a polyp; false: at most a share of the inner mask "
            "is no polyp; default: both.",
        ),
    ] = None,
    level: Annotated[float, typer.Option(help="The share, between 0 and 1.")] = 0.1,
    confidence: Annotated[
        float | None, typer.Option(help="Confidence that the limit holds, as 0.9; default: it holds on average.")
    ] = None,
    family: Annotated[
        str, typer.Option(metavar="NAME", help="Masks by another threshold, or by dilation of the mask.")
    ] = "threshold",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Skip files that cannot be used.")] = False,
    polyp_values: PolypValues = "",
    polyp_colours: PolypColours = "",
    mask_channel: MaskChannel = "",
) -> None:
    """Calibrate outer and inner masks that limit the share of wrong pixels on new frames of the same kind.

    Frames of one sequence or patient (groups.csv beside the images) count as one. The calibration belongs to the model,
    its threshold and options. With --store it is kept in the run or in the .onnx file, where predict and serve find it;
    with -o it is a file for their option --calibration.

    [bold]Examples[/bold]

    polypseg calibrate polyp-lite --data my-hospital/ --level 0.1 -o polyp-lite.calibration.json

    polypseg calibrate model.onnx --data my-hospital/ --level 0.1 --store

    polypseg calibrate runs/kvasir --data my-hospital/ --risk missed --level 0.2 --confidence 0.9 -o outer.json
    """
    from typing import cast

    from rich.markup import escape

    from polypseg.cli.console import console, import_keras_for, track
    from polypseg.cli.stored_options import target_of
    from polypseg.data.catalogue import find_samples
    from polypseg.data.samples import check_samples, refuse
    from polypseg.errors import UsageError
    from polypseg.explain.calibrating import RISKS, Promise, calibrate
    from polypseg.predict.engines.packaged import resolve
    from polypseg.predict.predictor import PredictOptions, load
    from polypseg.preprocess import mask_rule
    from polypseg.records.calibration import Family, save_calibration
    from polypseg.records.stored import store_calibration, stored_calibration

    if out is None and not store:
        raise UsageError("missing -o NAME.json or --store: say where the calibration is kept")
    if out is not None and out.exists() and not overwrite:
        raise UsageError(f"{out} exists; replace it with --overwrite, or name another file")
    if out is not None and not out.parent.is_dir():
        raise UsageError(f"{out}: its folder does not exist; make it, or name another")
    promise = Promise(tuple(dict.fromkeys(risk or RISKS)), level, confidence, cast("Family", family))
    promise.check()
    path = resolve(model)
    if store and stored_calibration(target_of(path)) is not None and not overwrite:
        raise UsageError(f"{path} holds a calibration already; replace it with --overwrite")
    samples, unpaired = find_samples(data, rule=mask_rule(polyp_values, polyp_colours, mask_channel))
    usable, faults, _ = check_samples(samples, track)
    refuse([*unpaired, *faults], skip_bad)
    import_keras_for(path)
    calibrated = calibrate(path, load(path, options=PredictOptions(stored=False)), usable, promise, track)
    _show(calibrated, promise)
    if store:
        kept = store_calibration(path, calibrated.calibration)
        console.print(escape(f"wrote {kept}; polypseg predict and serve use it, --calibration none turns it off"))
    if out is not None:
        save_calibration(out, calibrated.calibration)
        console.print(escape(f"wrote {out}; use it with: polypseg predict MODEL FRAMES --calibration {out} -o FOLDER"))


def _show(calibrated: "Calibrated", promise: "Promise") -> None:
    """Print what is promised, and what the other family would need."""
    from polypseg.cli.console import console
    from polypseg.explain.calibrating import RISKS

    calibration = calibrated.calibration
    console.print(f"{calibration.promise}; measured on {calibration.data}")
    for risk, side in RISKS.items():
        bound = calibration.outer if side == "outer" else calibration.inner
        if bound is None:
            continue
        console.print(
            f"{side} mask: {bound.family} {bound.value:.4g}; area {bound.stretch:.2f} times that of the mask; risk on "
            f"these frames {bound.risk:.3f}"
        )
        for (other_risk, family), choice in calibrated.others.items():
            if other_risk == risk:
                needs = f"{choice.bound.stretch:.2f} times" if choice.bound else "cannot hold it"
                console.print(f"  by {family} instead: {needs}")
