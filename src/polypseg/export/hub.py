"""A model put on a hub: its file, a record with its digest, and its card with the metadata that the hub reads.

Decisions:
- All three files come in one commit, so that no commit holds a model without its card or its digest.
- Figures of the metadata are those that the model file carries; none is typed in by hand.
- A licence that binds more than a name of the hub's list says is `other`, and the card says what.
"""

import re
from pathlib import Path
from typing import NamedTuple

from polypseg import __version__
from polypseg.errors import DownloadError, ModelError
from polypseg.predict.engines.hub import (
    CARD_NAME,
    MODEL_NAME,
    RECORD_NAME,
    SCHEME,
    HubRecord,
    hub_api,
    parse,
    told_in_a_line,
)
from polypseg.records.digests import model_file_digest
from polypseg.records.model_facts import ModelFacts
from polypseg.records.onnx_metadata import read_facts

TAGS = ["polypseg", "onnx", "polyp-segmentation", "colonoscopy", "endoscopy", "medical-imaging"]
METRICS = ("dice", "iou", "precision", "recall")
LICENCES = {"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0"}
"""Names of the hub's list that stand for a whole licence."""


class Pushed(NamedTuple):
    """What was put on a hub.

    Attributes:
        address: With the commit.
        sha256: Of the model file.
    """

    address: str
    sha256: str


def push(model: Path, address: str, card: str | None = None, private: bool = False) -> Pushed:
    """Where a model file lies on a hub, once it was put there.

    Args:
        model: An `.onnx` file that polypseg exported.
        address: As hf://owner/name; the repository is made where it is missing.
        card: Markdown without metadata; None for one made of what the file says of itself.
        private: Whether a repository that is made can be seen by its owner alone.

    Raises:
        DownloadError: The hub cannot be reached, or refuses.
        MissingExtraError: huggingface_hub is not installed.
        ModelError: No such model.
        UsageError: No address.
    """
    repository, revision = parse(address)
    if model.suffix.lower() != ".onnx":
        raise ModelError(f"{model}: expected an .onnx file; export it first: polypseg export {model} -o model.onnx")
    facts = read_facts(model)
    record = HubRecord(
        name=facts.name or model.stem,
        sha256=model_file_digest(model),
        num_bytes=model.stat().st_size,
        polypseg=__version__,
    )
    api = hub_api()
    from huggingface_hub import CommitOperationAdd

    files: dict[str, bytes | str] = {
        CARD_NAME: hub_card(facts, repository, card).encode(),
        RECORD_NAME: (record.model_dump_json(indent=1) + "\n").encode(),
        MODEL_NAME: str(model),
    }
    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    message = f"{' '.join([record.name, facts.version]).strip()}, pushed by polypseg {__version__}"
    with told_in_a_line(address):
        api.create_repo(repository, private=private, exist_ok=True)
        try:
            done = api.create_commit(repository, operations, commit_message=message, revision=revision)
        except ValueError as error:  # of the card's metadata, as the hub judges them
            raise DownloadError(f"{address}: {' '.join(str(error).split())}; mend the card") from error
        except RuntimeError as error:  # of the upload of the model, whatever stopped it
            reason = str(error.__cause__ or error).strip().partition("\n")[0]
            raise DownloadError(f"{address}: the upload of the model failed ({reason}); try again") from error
    return Pushed(f"{SCHEME}{repository}@{done.oid}", record.sha256)


def hub_card(facts: ModelFacts, repository: str, card: str | None = None) -> str:
    """The card of a model as a hub reads it: YAML between two lines of `---`, then Markdown.

    Args:
        facts: Of the model file.
        repository: As owner/name.
        card: Markdown without metadata; None for one made of the facts.
    """
    from huggingface_hub import EvalResult, ModelCardData

    results = [EvalResult(**result) for result in eval_results(facts)]
    licence = facts.licence.strip().lower()
    is_listed = licence in LICENCES
    data = ModelCardData(
        language=None,
        library_name="polypseg",
        pipeline_tag="image-segmentation",
        tags=TAGS,
        license=licence if is_listed else "other",
        license_name=None if is_listed else "weights-and-training-data",
        license_link=None if is_listed else f"https://huggingface.co/{repository}/blob/main/{CARD_NAME}",
        metrics=list(METRICS) if results else None,
        model_name=(facts.name or repository.partition("/")[2]) if results else None,
        eval_results=results or None,
    )
    text = card if card is not None else plain_card(facts, repository)
    return f"---\n{data.to_yaml()}\n---\n\n{_with_use(text, repository)}"


def eval_results(facts: ModelFacts) -> list[dict[str, str | float]]:
    """The model's figures as the hub's `model-index` takes them: one for each data set, split and metric."""
    found: list[dict[str, str | float]] = []
    stated = facts.model_dump(mode="json", exclude_unset=True, include={"figures"}).get("figures", {})
    for key, figures in stated.items():
        if not isinstance(figures, dict):
            continue
        data, split = str(figures.get("data", key)), str(figures.get("split", key))
        for metric in METRICS:
            value = figures.get(metric)
            mean = value.get("mean") if isinstance(value, dict) else value
            if isinstance(mean, int | float):
                found.append(
                    {
                        "task_type": "image-segmentation",
                        "task_name": "Polyp segmentation",
                        "dataset_type": re.sub(r"[^\w.-]+", "-", data.lower()),
                        "dataset_name": data if split == key else f"{data} ({split})",
                        "dataset_split": split,
                        "metric_type": metric,
                        "metric_name": f"mean {metric} per image",
                        "metric_value": round(float(mean), 6),
                    }
                )
    return found


def plain_card(facts: ModelFacts, repository: str) -> str:
    """A card made of what a model file says of itself."""
    name = facts.name or repository.partition("/")[2]
    rows = {
        "input": f"{facts.size}×{facts.size} px, {facts.normalisation}; images of any size",
        "parameters": f"{facts.num_parameters:,}" if facts.num_parameters else "",
        "precision": facts.precision,
        "threshold": f"{facts.threshold:.4g} {facts.threshold_source}".strip(),
        "checkpoint": facts.checkpoint_chosen_by,
        "protocol": facts.protocol,
        "exported by": facts.exported_by,
        "licence": facts.licence,
    }
    lines = [f"# {name} {facts.version}".strip(), "", "> **Not a medical device.** For research and education.", ""]
    lines += ["Marks the pixels of polyps in colonoscopy frames.", "", "| | |", "|---|---|"]
    lines += [f"| {label} | {_cell(value)} |" for label, value in rows.items() if value]
    lines += [
        "",
        "## Training data and its terms",
        "",
        facts.training_data or "Unknown.",
        "",
        facts.terms or "Unknown.",
    ]
    if results := eval_results(facts):
        lines += ["", "## Figures", "", "| data | figure | value |", "|---|---|---|"]
        lines += [f"| {_cell(r['dataset_name'])} | {r['metric_name']} | {r['metric_value']:.4f} |" for r in results]
    return "\n".join(lines) + "\n"


def _with_use(card: str, repository: str) -> str:
    """The card with the lines that load the model."""
    use = f'```python\nimport polypseg\n\npolypseg.load("{SCHEME}{repository}").predict(image).mask  # (H, W) bool\n```'
    install = 'Install it with `pip install "polypseg[hub]"`, then:'
    return f"{card.rstrip()}\n\n## Use\n\n{install}\n\n{use}\n"


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", r"\|")
