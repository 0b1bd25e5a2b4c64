"""A project of copies that tell nothing of the patient: what is labelled, exported and trained with are these.

Decisions:
- The copies lie in the project, in frames/. The key lies beside the project, never in it.
- Text in the picture is blanked too: nobody looks at a report before frames are shown.
"""

import shutil
import warnings
from pathlib import Path

from polypseg.annotate.anonymise import Done, anonymise
from polypseg.annotate.beginning import begin_project, refuse_occupied
from polypseg.data.project_frames import find_frames
from polypseg.data.samples import SkippedSamplesWarning
from polypseg.progress import Track, silent

COPIES = "frames"
"""The folder of the copies in the project."""


def begin_anonymised_project(source: Path, folder: Path, name: str, track: Track = silent) -> Done:
    """Make a new project of anonymous copies; what was done, and what was left out.

    Args:
        source: Images, or a data set.
        folder: Of the project; it is made.
        name: Of the project.
        track: Shows progress.

    Raises:
        ProjectError: The folder holds something.
        PairingError: There are no images: a project's frames are images, not videos or DICOM files.
        DataError: Nothing can be anonymised, or there is a key already.
    """
    refuse_occupied(folder)
    find_frames(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedSamplesWarning)  # who calls gets them in `Done.faults`
        done = anonymise(source, folder, blank_text=True, skip_bad=True, track=track)
    copies = folder / COPIES
    copies.mkdir()
    for path in sorted(folder.iterdir()):
        if path != copies:
            shutil.move(path, copies / path.name)
    begin_project(copies, folder, name)
    return done
