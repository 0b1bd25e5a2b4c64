"""`polypseg recalibrate`: probabilities that are right as often as they say, kept with the model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from polypseg.cli.mask_options import MaskChannel, PolypColours, PolypValues
from polypseg.errors import DataError, UsageError, plural

if TYPE_CHECKING:
    from polypseg.data.samples import Sample
    from polypseg.explain.recalibrating import Looked
    from polypseg.predict.predictor import Predictor
    from polypseg.preprocess import MaskRule
    from polypseg.records.recalibration import Recalibration


def recalibrate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run folder, an .onnx file or an included model.")],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Frames with masks, which the model was not trained on.",
            show_default="a run's own validation split",
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="NAME", help="temperature (one number) or isotonic (follows the frames closely).")
    ] = "temperature",
    test: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Other frames, to check that it holds there too; can be repeated."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the reliability before and after (.png, .svg, .pdf).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="NAME.onnx", help="Write a recalibrated copy; for an .onnx file."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the stored recalibration from the model.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing recalibration or file.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Skip files that cannot be used.")] = False,
    polyp_values: PolypValues = "",
    polyp_colours: PolypColours = "",
    mask_channel: MaskChannel = "",
) -> None:
    """Recalibrate the probabilities of a model, and store the result with the model.

    The pixels around the outlines of polyps are counted: what share of those with a probability of 0.8 is polyp? A
    increasing function corrects them. It is stored in the run (recalibration.json) or in the .onnx file, and applied
    whenever the model is opened. The thresholds move with it, so the masks stay the same.

    A calibration made before (polypseg calibrate) no longer fits: make it again.

    [bold]Examples[/bold]

    polypseg recalibrate runs/kvasir --test data/cvc-clinicdb

    polypseg recalibrate model.onnx --data my-hospital/ --method isotonic -o model-recalibrated.onnx
    """
    from polypseg.cli.console import console, import_keras_for, messages, track
    from polypseg.cli.stored_options import target_of
    from polypseg.explain.recalibrating import check_method, recalibrate
    from polypseg.predict.engines.packaged import resolve
    from polypseg.predict.predictor import PredictOptions, load
    from polypseg.preprocess import mask_rule
    from polypseg.records.stored import store_recalibration, stored_calibration, stored_recalibration

    check_method(method)
    path = resolve(model)
    target = target_of(path, out, overwrite)
    if remove:
        if stored_recalibration(path) is None:
            raise UsageError(f"{path} holds no recalibration, so there is none to remove")
        kept = store_recalibration(path, None, out)
        console.print(f"removed {kept}" if path.is_dir() else f"wrote {kept}, without a recalibration", markup=False)
        return
    if out is None and stored_recalibration(path) is not None and not overwrite:
        raise UsageError(f"{path} is recalibrated already; replace that with --overwrite, or take it out with --remove")
    call = _Call(mask_rule(polyp_values, polyp_colours, mask_channel), skip_bad)
    samples = call.own_samples(path, data)
    others = {each.name: call.samples(each) for each in test or ()}
    import_keras_for(path)
    predictor = load(path, options=PredictOptions(stored=False))
    record, looked = recalibrate(path, predictor, samples, method, track)
    looked_at = {"fitted on": looked} | {name: call.look(predictor, name, found) for name, found in others.items()}
    _show(record, looked_at)
    if figure is not None:
        console.print(f"wrote {_draw(record, looked_at, figure)}", markup=False)
    console.print(
        f"wrote {store_recalibration(path, record, out)}; polypseg predict, evaluate and serve apply it", markup=False
    )
    if stored_calibration(target) is not None:
        messages.print(
            "[yellow]note:[/yellow] the stored calibration is of the old probabilities and is no longer used; make it "
            "again with polypseg calibrate --store"
        )


class _Call(NamedTuple):
    """How frames are found and read."""

    rule: "MaskRule"
    skip_bad: bool

    def samples(self, folder: Path) -> "list[Sample]":
        """The usable frames of a folder."""
        from polypseg.cli.console import track
        from polypseg.data.catalogue import find_samples
        from polypseg.data.samples import check_samples, refuse

        samples, unpaired = find_samples(folder, rule=self.rule)
        usable, faults, _ = check_samples(samples, track)
        refuse([*unpaired, *faults], self.skip_bad)
        return usable

    def own_samples(self, model: Path, data: Path | None) -> "list[Sample]":
        """The frames to fit on: of a folder, or a run's validation split.

        Raises:
            UsageError: A model file and no folder.
            DataError: Frames that the model was trained on.
        """
        from polypseg.explain.recalibrating import refuse_trained, validation_samples

        if data is None and model.is_dir():
            return validation_samples(model)
        if data is None:
            raise UsageError(f"{model}: a model file has no data of its own; name --data DIR, or give its run folder")
        samples = self.samples(data)
        refuse_trained(model, samples)
        return samples

    def look(self, predictor: "Predictor", name: str, samples: "list[Sample]") -> "Looked":
        """What is seen of other frames.

        Raises:
            DataError: None shows a polyp.
        """
        from polypseg.cli.console import track
        from polypseg.explain.recalibrating import look_at

        looked = look_at(predictor, samples, track=track)
        if not looked.counts:
            raise DataError(f"{name}: no frame with the mask of a polyp; name another folder with --test")
        return looked


def _show(record: "Recalibration", looked_at: "dict[str, Looked]") -> None:
    """Print the figures before and after."""
    from polypseg.cli.console import console
    from polypseg.explain.recalibrating import judged

    console.print(f"{record.words}; in the band around each polyp, and in brackets over the whole frame:", markup=False)
    figures = [record.fitted] + [
        judged(looked, [record] * len(looked.counts), name) for name, looked in looked_at.items() if name != "fitted on"
    ]
    for each in figures:
        if each is not None:
            console.print(
                f"{each.data} ({plural(each.num_frames, 'frame')}): calibration error {each.error_before:.4f} -> "
                f"{each.error_after:.4f} ({each.whole_before:.4f} -> {each.whole_after:.4f}), Brier score "
                f"{each.brier_before:.4f} -> {each.brier_after:.4f}",
                markup=False,
            )


def _draw(record: "Recalibration", looked_at: "dict[str, Looked]", path: Path) -> Path:
    from polypseg.explain.recalibrating import band_counts
    from polypseg.report.reliability import band_reliability_figure

    sets = {name: (band_counts(looked), band_counts(looked, record)) for name, looked in looked_at.items()}
    return band_reliability_figure(sets, path)
