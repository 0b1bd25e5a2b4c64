"""The settings of a server; the only place where a default of the server is written."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
"""What a browser may call a server that listens on the loopback; any other name is another site's trick."""


class Settings(BaseModel):
    """What is served, and within which bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path | str | None = Field(None, description="run, file or packaged name; None: the packaged default")
    engine: str = "auto"
    calibration: str | None = Field(None, description="file; none: not even the stored one; None: the stored one")
    num_engines: int = Field(1, ge=1, le=64, description="that run at once, on the cores shared out")
    threads: int | None = Field(None, ge=1, description="processor cores for each engine; None: what fits")
    batch_size: int = Field(4, ge=1, le=256, description="images of different requests that the model sees at once")

    anonymise: bool = Field(False, description="blank all but the picture of what is uploaded, before anything else")

    max_connections: int = Field(512, ge=16, description="open at once; fewer where the system allows fewer files")
    head_seconds: float = Field(10, gt=0, description="for the head of a request, at most")
    stall_seconds: float = Field(30, gt=0, description="for which a client may leave an answer unread")
    idle_seconds: float = Field(10, gt=0, description="between two pieces of a body, at most")

    queue_size: int = Field(64, ge=1, description="images that are accepted and not yet answered")
    request_seconds: float = Field(30, gt=0, description="from the last byte received to the answer, at most")
    upload_seconds: float = Field(30, gt=0, description="for the body of images, at most")
    video_upload_seconds: float = Field(600, gt=0, description="for the body of a video, at most")
    max_image_bytes: int = Field(20_000_000, ge=1)
    max_image_pixels: int = Field(25_000_000, ge=1)
    max_images: int = Field(16, ge=1, description="of one batch request")
    max_batch_bytes: int = Field(100_000_000, ge=1, description="of one batch request")
    max_upload_memory: int = Field(512_000_000, ge=1, description="bytes of all images that are being received or wait")

    max_video_bytes: int = Field(500_000_000, ge=1)
    max_jobs: int = Field(8, ge=1, description="videos that are kept: waiting, running and finished")
    video_seconds: float = Field(7200, gt=0, description="that a video may take")
    max_jobs_bytes: int = Field(4_000_000_000, ge=1, description="of all videos and results on disk")
    job_seconds: float = Field(3600, gt=0, description="for which a finished job and its files are kept")
    unfetched_seconds: float = Field(120, gt=0, description="then a finished job that nobody asked for gives way")
    shutdown_seconds: float = Field(6, ge=0, description="in which accepted work is finished before the server ends")

    project: Path | None = Field(None, description="folder of a project of corrections that is open")

    label_studio: str | None = Field(None, pattern="^https?://[^/]+", description="address of a Label Studio")
    label_studio_key: str | None = Field(None, min_length=1, repr=False, description="access token of it")

    token: str | None = Field(None, min_length=1, repr=False, description="bearer token that requests must carry")
    allowed_hosts: tuple[str, ...] = Field((), description="names a request may call the server; empty: any")
    cors_origins: tuple[str, ...] = Field((), description="other sites whose pages may call; empty: none")
