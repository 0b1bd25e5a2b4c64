"""A project's labelled frames as one ZIP, which needs nothing of polypseg to be read: images/, masks/, frames.csv."""

import tempfile
import zipfile
from pathlib import Path

from polypseg.annotate.project import Project
from polypseg.errors import ProjectError
from polypseg.formats.writing import write_png
from polypseg.preprocess import read_image
from polypseg.preprocess.reading import is_turned
from polypseg.records.project import FRAMES_NAME, MASKS, ProjectFrameRow, frames_table, mask_path

ZIP_NAME = "project.zip"


def write_zip(project: Project) -> Path:
    """A temporary file; who asked for it removes it.

    Images are copied byte by byte; one that its file turns (EXIF) is stored upright, as its mask is.

    Raises:
        ProjectError: Nothing is labelled yet, or an image is gone.
        OSError: There is no room for it.
    """
    frames = project.labelled()
    if not frames:
        raise ProjectError("nothing is labelled yet: correct or accept some frames first")
    rows: list[ProjectFrameRow] = []
    with tempfile.NamedTemporaryFile(suffix=".zip", prefix="polypseg-", delete=False) as opened:
        path = Path(opened.name)
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive, tempfile.TemporaryDirectory() as folder:
            for frame in frames:
                source, name = frame.image_path, f"{frame.name}{frame.image_path.suffix.lower()}"
                if is_turned(source):
                    source, name = Path(folder) / "upright.png", f"{frame.name}.png"
                    write_png(source, read_image(frame.image_path))
                archive.write(source, f"images/{name}")
                rows.append(project.row(frame)._replace(image=f"images/{name}"))
                archive.write(mask_path(project.folder, frame.name), f"{MASKS}/{frame.name}.png")
            archive.writestr(FRAMES_NAME, frames_table(rows))
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, FileNotFoundError):
            raise ProjectError(f"{error.filename}: is gone; put it back, then export") from error
        raise
    return path
