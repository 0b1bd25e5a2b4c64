"""`polypseg report`: a page, a model card and a checklist from saved results."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    scores: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|SCORES",
            help="A run folder (its test split), a folder written by polypseg evaluate, or its scores.csv.",
        ),
    ],
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Include pictures of the data in the page.")
    ] = True,
    cases: Annotated[
        int, typer.Option(min=0, max=24, help="Images per group: worst, median, best, largest false alarms.")
    ] = 4,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an edited model card or checklist.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Name of the page (.html), or a folder.", show_default="where the scores are"),
    ] = None,
) -> None:
    """Write a report page, a draft of a model card and a draft of the CLAIM checklist.

    The page shows saved results; no model is run and no network is needed. It has tables with intervals, charts,
    pictures of the worst, median and best images, near-duplicates of training images, data, split, versions and
    commands, and says how often the test split was used.

    Most data sets do not allow you to publish their images: use --no-images before you share the page.

    Complete model_card.md and claim.md by hand; what is not recorded is marked unknown. Edited files are kept
    (--overwrite replaces them).

    [bold]Examples[/bold]

    polypseg report runs/kvasir

    polypseg report runs/kvasir/evaluation/cvc-clinicdb --no-images -o cvc.html

    polypseg report results/PraNet/Kvasir-evaluation/scores.csv -o review/
    """
    from polypseg.cli.console import console, messages
    from polypseg.records.lock import alone_at
    from polypseg.report.card import MAP_PICTURE, model_card
    from polypseg.report.claim import claim_checklist
    from polypseg.report.documents import write_draft
    from polypseg.report.explanation import explanation_figure
    from polypseg.report.html import write_page
    from polypseg.report.report_input import read_report_input

    record = read_report_input(scores)
    page = page_path(record.evaluation.folder, out)
    page.parent.mkdir(parents=True, exist_ok=True)
    with alone_at(page):
        written = [write_page(record, page, images, cases)]
        for name, draft in (("model_card.md", model_card(record)), ("claim.md", claim_checklist(record))):
            path = page.with_name(name)
            if write_draft(path, draft, overwrite):
                written.append(path)
            else:
                messages.print(f"kept {path}: it was edited (--overwrite replaces it)", markup=False)
        if record.explanation is not None:
            written.append(explanation_figure(record.explanation, page.with_name(MAP_PICTURE)))
    console.print(f"wrote {', '.join(map(str, written))}", markup=False)
    if images and cases:
        terms = record.terms_of_use.text
        messages.print(
            f"the page contains pictures of the data (--no-images removes them); terms: {terms}", markup=False
        )


def page_path(folder: Path, out: Path | None) -> Path:
    """Where the page goes: report.html where the scores are, the file that was named, or report.html in that folder.

    Raises:
        UsageError: A file that does not end in .html.

    >>> str(page_path(Path("runs/a/evaluation/test"), Path("review")))
    'review/report.html'
    """
    from polypseg.errors import UsageError

    if out is None or out.is_dir() or not out.suffix:
        return (out or folder) / "report.html"
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {out}: expected a file that ends in .html, or a folder")
    return out
