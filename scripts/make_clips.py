"""Lays a data set of sequences out as short clips with references, as `polypseg evaluate --videos` takes them.

    python scripts/make_clips.py data/cvc-clinicdb clips --negatives data/polypgen-negatives
    polypseg evaluate polyp-lite --videos clips/videos --references clips/masks --frame-rate 25 -o clips/deployment

Each group of the data (a sequence of CVC-ClinicDB) becomes a clip of its frames in order, in which all polyps count as
one lesion. Each frame of --negatives becomes a clip of that frame alone: stills have no time, so that false alerts per
minute stay unknown, and specificity has an interval over frames. Images are linked, not copied, where that can be done.
"""

import argparse
import shutil
from pathlib import Path

import cv2
import numpy as np

from polypseg.cli.console import track
from polypseg.data.catalogue import find_samples
from polypseg.data.samples import Sample, load_sample, refuse
from polypseg.errors import DataError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="images, masks and a table of groups")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--negatives", type=Path, help="images without a polyp")
    options = parser.parse_args()
    made = make_clips(options.data, options.out, options.negatives)
    print(f"wrote {len(made)} clips to {options.out / 'videos'}")


def make_clips(data: Path, out: Path, negatives: Path | None = None) -> list[str]:
    """The names of the clips, once OUT/videos and OUT/masks are written.

    Raises:
        DataError: The data have no groups, a file cannot be used, or the folder holds clips.
    """
    if (out / "videos").exists():
        raise DataError(f"{out / 'videos'}: exists; remove it or name another folder")
    samples, faults = find_samples(data)
    refuse(faults, skip_bad=False)
    without = [sample.name for sample in samples if sample.group is None]
    if without:
        raise DataError(f"{data}: {len(without)} images have no group, as {without[0]}; expected a table sequences.csv")
    clips = [(f"sequence-{sample.group}", sample) for sample in samples]
    if negatives is not None:
        found, faults = find_samples(negatives, True)
        refuse(faults, skip_bad=False)
        clips += [(f"without-{sample.name}", sample) for sample in found]
    for name, sample in track(clips, "laying out", len(clips)):
        _add(out, name, sample)
    return list(dict.fromkeys(name for name, _ in clips))


def _add(out: Path, name: str, sample: Sample) -> None:
    video, masks = out / "videos" / name, out / "masks" / name
    for folder in (video, masks):
        folder.mkdir(parents=True, exist_ok=True)
    _, mask = load_sample(sample)
    cv2.imwrite(str(masks / f"{sample.name}.png"), np.where(mask, 255, 0).astype(np.uint8))
    target = video / f"{sample.name}{sample.image_path.suffix}"
    try:
        target.symlink_to(sample.image_path.resolve())
    except OSError:  # a file system without links
        shutil.copyfile(sample.image_path, target)


if __name__ == "__main__":
    main()
