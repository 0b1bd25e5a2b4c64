"""The command line. One module a command; heavy imports stay inside the functions, so that --help is quick."""

from typing import Annotated

import typer

from polypseg import __version__
from polypseg.cli import console as _console
from polypseg.cli.annotate import annotate
from polypseg.cli.archive import app as archive_app
from polypseg.cli.benchmark import benchmark
from polypseg.cli.calibrate import calibrate
from polypseg.cli.compare import compare
from polypseg.cli.data import app as data_app
from polypseg.cli.evaluate import evaluate
from polypseg.cli.evaluate_options import EvaluateCommand
from polypseg.cli.explain import explain
from polypseg.cli.export import export
from polypseg.cli.hub import app as hub_app
from polypseg.cli.models import models
from polypseg.cli.predict import predict
from polypseg.cli.recalibrate import recalibrate
from polypseg.cli.report import report
from polypseg.cli.robustness import robustness
from polypseg.cli.serve import serve
from polypseg.cli.show import show
from polypseg.cli.summary import summary
from polypseg.cli.train import train

app = typer.Typer(
    name="polypseg",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Find the pixels of polyps in colonoscopy images: train, evaluate, explain, export and serve models.

    [bold]The first mask, with the included model[/bold]

    polypseg predict frame.jpg -o mask.png

    [bold]Without data: synthetic frames[/bold]

    polypseg data synth demo/data
    polypseg train --data demo/data --name demo
    polypseg show runs/demo

    [bold]With Kvasir-SEG[/bold]

    polypseg data download kvasir-seg
    polypseg data check data/kvasir-seg
    polypseg train --data data/kvasir-seg --name kvasir

    Not a medical device: for research and education.""",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"polypseg {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    _console.is_debugging = debug


app.add_typer(data_app, name="data", rich_help_panel="Data")
app.command(rich_help_panel="Train")(_console.one_line_errors(train))
app.command(rich_help_panel="Train")(_console.one_line_errors(summary))
app.command(rich_help_panel="Use")(_console.one_line_errors(predict))
app.add_typer(archive_app, name="archive", rich_help_panel="Use")
app.command(rich_help_panel="Use")(_console.one_line_errors(models))
app.add_typer(hub_app, name="hub", rich_help_panel="Use")
app.command(rich_help_panel="Use")(_console.one_line_errors(serve))
app.command(rich_help_panel="Use")(_console.one_line_errors(annotate))
app.command(rich_help_panel="Evaluate", cls=EvaluateCommand)(_console.one_line_errors(evaluate))
app.command(rich_help_panel="Evaluate")(_console.one_line_errors(compare))
app.command(rich_help_panel="Evaluate")(_console.one_line_errors(calibrate))
app.command(rich_help_panel="Evaluate")(_console.one_line_errors(recalibrate))
app.command(rich_help_panel="Evaluate")(_console.one_line_errors(explain))
app.command(rich_help_panel="Evaluate")(_console.one_line_errors(robustness))
app.command(rich_help_panel="Evaluate")(_console.one_line_errors(report))
app.command(rich_help_panel="Evaluate")(_console.one_line_errors(show))
app.command(rich_help_panel="Export")(_console.one_line_errors(export))
app.command(rich_help_panel="Export")(_console.one_line_errors(benchmark))
