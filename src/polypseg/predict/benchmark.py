"""How fast a model is on this machine, from the image file to the mask at the image's own size.

Decisions:
- Without images of the user's, synthetic JPEGs of Kvasir-SEG's usual size are measured, in pixels and in bytes:
  decoding costs what it costs there.
- Engines are measured one after another, each alone: the idle threads of one would slow another.
- Cold start and memory are those of `polypseg predict` itself, in fresh processes: what a user waits for and needs.
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image as PillowImage

from polypseg.data.synthetic import synthetic_image
from polypseg.errors import UsageError, plural, unknown_name
from polypseg.machine import instruction_set, machine, onednn_instruction_set, versions
from polypseg.predict.child_process import run_in_child_process
from polypseg.predict.engines.engine import ENGINES
from polypseg.predict.engines.second_look import share_looked_at_again
from polypseg.predict.predictor import load
from polypseg.predict.timing import Percentiles, Timings, Verdict, percentiles, time_runs, verdicts
from polypseg.preprocess import read_image
from polypseg.records.benchmark import (
    BenchmarkRecord,
    BenchmarkSettings,
    EngineTimes,
    KeptLimit,
    Milliseconds,
    StageMilliseconds,
)
from polypseg.records.model_facts import ModelFacts
from polypseg.records.paired_models import BESIDE

SIZE = (530, 600)
"""Height and width of the synthetic images: a usual one in Kvasir-SEG."""
JPEG_QUALITY = 80
"""At this quality they have as many bytes as Kvasir-SEG's of that size: 34 KB; the median of 128 there is 35."""
NUM_SYNTHETIC = 8
COLD_STARTS = 3
ALL = "all"


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is measured.

    Attributes:
        engine: A name of `ENGINES`, or `all` for each that is installed and fits the model.
        threads: Cores that the engine uses at most; None leaves it to the runtime.
        batch_size: Images that the model sees at once.
        runs: Measured runs of a batch.
        warm_up: Runs before them.
        cold_starts: ProcessCost processes, whose median time is the cold start.
    """

    engine: str = "auto"
    threads: int | None = None
    batch_size: int = 1
    runs: int = 100
    warm_up: int = 10
    cold_starts: int = COLD_STARTS

    def __post_init__(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            UsageError: An unknown engine, or a number below its least.
        """
        if self.engine not in (*ENGINES, ALL):
            raise UsageError(unknown_name("engine", self.engine, (*ENGINES, ALL)))
        for name, least in (("batch_size", 1), ("runs", 1), ("warm_up", 0), ("cold_starts", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)}: expected at least {least}")


@dataclass(frozen=True)
class EngineFigures:
    """The figures of one engine.

    Attributes:
        engine: Its name.
        device: Where it ran: `CPU` or `GPU`.
        facts: Of the model.
        timings: By stage.
        cold_start_seconds: Of `polypseg predict` of one image, from the process' start to its end.
        peak_mib: Of a process that predicts all images at the batch size; None where the system does not tell.
        instruction_set: That the engine uses here, as `AVX2`; empty where it is not known.
        share_again: Of the images, predicted again in float (engines/second_look.py); None where nothing looks again.
    """

    engine: str
    device: str
    facts: ModelFacts
    timings: Timings
    cold_start_seconds: float
    peak_mib: float | None
    instruction_set: str = ""
    share_again: float | None = None

    @property
    def end_to_end(self) -> Percentiles:
        """Milliseconds of a batch."""
        return percentiles(self.timings.end_to_end)

    @property
    def verdicts(self) -> list[Verdict]:
        """Of the end-to-end time of a batch."""
        return verdicts(self.end_to_end)


@dataclass(frozen=True)
class Report:
    """All figures of one call.

    Attributes:
        model: The model's path.
        images: What was predicted, in words.
        machine: In one line.
        versions: In one line.
        options: As given.
        measured: An entry an engine.
    """

    model: str
    images: str
    machine: str
    versions: str
    options: BenchmarkOptions
    measured: list[EngineFigures]

    def record(self) -> BenchmarkRecord:
        """The figures as they are saved."""
        return BenchmarkRecord(
            model=self.model,
            images=self.images,
            machine=self.machine,
            versions=self.versions,
            options=BenchmarkSettings(**vars(self.options)),
            engines=tuple(_record_of(each) for each in self.measured),
        )


def benchmark(
    model: Path,
    options: BenchmarkOptions = BenchmarkOptions(),
    images: Sequence[Path] = (),
    size: tuple[int, int] = SIZE,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """How fast a model is on this machine.

    Args:
        model: A run folder, an `.onnx` or a `.keras` file.
        options: What is measured.
        images: Image files; empty for synthetic JPEGs.
        size: Height and width of the synthetic ones.
        say: Is told what is being measured.

    Raises:
        ImageError: An image cannot be read.
        ModelError: The model cannot be run, or fails in a fresh process.
        UsageError: An engine that does not fit.
        MissingExtraError: The engine is not installed.
    """
    with _image_files(images, size) as (paths, words):
        names = engines_for(model) if options.engine == ALL else [options.engine]
        measured = [_measure(model, name, paths, options, say) for name in names]
    return Report(str(model), words, machine(), versions(), options, measured)


def engines_for(model: Path) -> list[str]:
    """The engines that are installed and run a model, the default one first."""
    if model.is_dir() or model.suffix.lower() == ".keras":
        return ["keras"]
    if model.suffix.lower() in BESIDE:
        return ["openvino" if model.suffix.lower() == ".xml" else "litert"]
    return [*(["openvino"] if find_spec("openvino") else []), "onnxruntime"]


def _measure(
    model: Path, engine: str, paths: Sequence[Path], options: BenchmarkOptions, say: Callable[[str], None]
) -> EngineFigures:
    predictor = load(model, engine, options.threads)
    name, facts = predictor.engine.name, predictor.engine.facts
    say(f"{name}: {options.warm_up} runs of warm-up, {options.runs} measured")
    timings = time_runs(predictor, paths, options.runs, options.batch_size, options.warm_up)
    device, share_again = _device(name), share_looked_at_again(predictor.engine)
    del predictor
    say(f"{name}: {options.cold_starts + 1} fresh processes")
    with TemporaryDirectory() as folder:
        copies = _numbered_copies(paths, Path(folder))
        command = [sys.executable, "-m", "polypseg", "predict", "--model", str(model), "--engine", name]
        command += ["-o", f"{folder}/out", "--overwrite"]
        command += ["--threads", str(options.threads)] if options.threads else []
        starts = [run_in_child_process([*command, copies[0]]) for _ in range(options.cold_starts)]
        whole = run_in_child_process([*command, "--batch-size", str(options.batch_size), *copies])
    cold_start = median(start.seconds for start in starts)
    own = onednn_instruction_set() if name == "openvino" else instruction_set()
    used = own if device == "CPU" else ""
    return EngineFigures(name, device, facts, timings, cold_start, whole.peak_mib, used, share_again)


def _numbered_copies(paths: Sequence[Path], folder: Path) -> list[str]:
    """Copies whose results cannot share a name."""
    return [str(shutil.copyfile(path, folder / f"{number}{path.suffix}")) for number, path in enumerate(paths)]


def _device(engine: str) -> str:
    if engine != "keras":
        return "CPU"
    from polypseg.train.numerics import has_gpu

    return "GPU" if has_gpu() else "CPU"


@contextmanager
def _image_files(images: Sequence[Path], size: tuple[int, int]) -> Iterator[tuple[list[Path], str]]:
    """Image files that can be read, for as long as the block lasts, and what they are."""
    if images:
        sizes = [read_image(path).shape[:2] for path in images]
        shown = sorted({f"{height}x{width}" for height, width in sizes})
        yield (
            list(images),
            f"{plural(len(images), 'image')} of the user's, {', '.join(shown[:3])}{' …' if shown[3:] else ''}",
        )
        return
    with TemporaryDirectory() as folder:
        yield draw_jpegs(Path(folder), size), f"{NUM_SYNTHETIC} synthetic JPEGs, {size[0]}x{size[1]}"


def draw_jpegs(folder: Path, size: tuple[int, int] = SIZE) -> list[Path]:
    """`NUM_SYNTHETIC` synthetic frames of `size` (height, width), as JPEGs in the folder."""
    paths = [folder / f"synthetic_{seed}.jpg" for seed in range(NUM_SYNTHETIC)]
    for seed, path in enumerate(paths):
        image, _ = synthetic_image(np.random.default_rng(seed), size)
        PillowImage.fromarray(image).save(path, quality=JPEG_QUALITY)
    return paths


def _record_of(measured: EngineFigures) -> EngineTimes:
    timings = measured.timings
    stages = {
        stage: StageMilliseconds(**percentiles(seconds)._asdict(), share=timings.share(stage))
        for stage, seconds in timings.seconds.items()
    }
    return EngineTimes(
        engine=measured.engine,
        device=measured.device,
        instruction_set=measured.instruction_set,
        share_again=measured.share_again,
        name=measured.facts.name,
        precision=measured.facts.precision,
        size=measured.facts.size,
        end_to_end_ms=Milliseconds(**measured.end_to_end._asdict()),
        stages_ms=stages,
        images_per_second=timings.images_per_second,
        share_around=timings.share_around,
        cold_start_seconds=measured.cold_start_seconds,
        peak_mib=measured.peak_mib,
        verdicts=tuple(KeptLimit(**verdict._asdict()) for verdict in measured.verdicts),
    )
