"""What the server counts, as Prometheus reads it: sizes, times and numbers, nothing of an image or a client."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.requests = Counter(
            "polypseg_requests", "Requests by route and status.", ("route", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "polypseg_request_seconds", "From headers to answer.", ("route",), buckets=SECONDS, registry=registry
        )
        self.waiting = Gauge("polypseg_images_accepted", "Images accepted and not yet answered.", registry=registry)
        self.decode_seconds = Histogram(
            "polypseg_decode_seconds", "Decoding and squeezing of an image.", buckets=SECONDS, registry=registry
        )
        self.image_seconds = Histogram(
            "polypseg_image_seconds", "From acceptance to answer of an image.", buckets=SECONDS, registry=registry
        )
        self.run_seconds = Histogram(
            "polypseg_run_seconds", "Of the engine for a batch.", buckets=SECONDS, registry=registry
        )
        self.batch_images = Histogram(
            "polypseg_batch_images", "Images in a batch.", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        self.upload_bytes = Gauge(
            "polypseg_upload_bytes", "Bytes of images being received or waiting.", registry=registry
        )
        self.jobs = Gauge("polypseg_jobs", "Video jobs that are kept, by state.", ("state",), registry=registry)
        self._seconds_of_runs, self._images_of_runs = 0.0, 0

    def observe_batch(self, num_images: int, seconds: float) -> None:
        """Count a run of the engine."""
        self.run_seconds.observe(seconds)
        self.batch_images.observe(num_images)
        self._seconds_of_runs += seconds
        self._images_of_runs += num_images

    def observe_image(self, decode_seconds: float, seconds: float) -> None:
        """Count an image that was answered."""
        self.decode_seconds.observe(decode_seconds)
        self.image_seconds.observe(seconds)

    def mean_run_seconds(self) -> float:
        """Of the engine's runs so far, an image; 0 before the first."""
        return self._seconds_of_runs / self._images_of_runs if self._images_of_runs else 0.0

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)
