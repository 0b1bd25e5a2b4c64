"""The file of `polypseg benchmark --json`: how fast a model is on a machine."""

from pydantic import Field

from polypseg.records.reading import Saved


class Milliseconds(Saved):
    """Percentiles of a time."""

    p50: float
    p95: float
    p99: float


class StageMilliseconds(Milliseconds):
    """Those of one stage, and its share of the whole."""

    share: float


class KeptLimit(Saved):
    """Whether a limit is kept: its name, its milliseconds, and `reached`, `at the median only` or `missed`."""

    name: str
    limit_ms: float
    answer: str


class BenchmarkSettings(Saved):
    """What was measured: `predict.benchmark.BenchmarkOptions`, which says what each means."""

    engine: str
    threads: int | None
    batch_size: int
    runs: int
    warm_up: int
    cold_starts: int


class EngineTimes(Saved):
    """The figures of one engine.

    Attributes:
        engine: Its name.
        device: CPU or GPU.
        instruction_set: That it uses; empty where unknown.
        name: Of the model.
        precision: Of the model.
        size: Of the model.
        end_to_end_ms: Of a batch.
        stages_ms: By stage.
        images_per_second: From file to mask.
        share_around: Of decoding and resizing in the whole time.
        cold_start_seconds: Of a fresh process.
        peak_mib: Memory; None where the system does not tell.
        verdicts: By limit.
        share_again: Of the images, predicted again in float; None where nothing looks again.
    """

    engine: str
    device: str
    instruction_set: str
    name: str
    precision: str
    size: int
    end_to_end_ms: Milliseconds
    stages_ms: dict[str, StageMilliseconds]
    images_per_second: float
    share_around: float = Field(alias="share_decode_resize_resize_back")
    cold_start_seconds: float
    peak_mib: float | None
    verdicts: tuple[KeptLimit, ...]
    share_again: float | None = None


class BenchmarkRecord(Saved):
    """What the file holds.

    Attributes:
        model: Its path.
        images: What was predicted, in words.
        machine: In words.
        versions: In words.
        options: What was measured.
        engines: An entry an engine.
    """

    model: str
    images: str
    machine: str
    versions: str
    options: BenchmarkSettings
    engines: tuple[EngineTimes, ...]
