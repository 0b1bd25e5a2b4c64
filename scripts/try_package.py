"""Installs the wheel and the sdist, each in a fresh environment, and predicts one synthetic frame with each.

python scripts/try_package.py dist
"""

import subprocess
import sys
import tempfile
from pathlib import Path

FRAME = """
import numpy as np, PIL.Image
rows, columns = np.mgrid[:240, :320]
frame = np.full((240, 320, 3), (190, 90, 80), np.uint8)
frame[(rows - 120) ** 2 + (columns - 160) ** 2 < 50**2] = (220, 60, 60)
PIL.Image.fromarray(frame).save("frame.png")
"""


def try_archive(archive: Path) -> None:
    """Install one archive in a new environment and predict a frame there; a failure raises."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
        programs = folder / "env" / "bin"
        subprocess.run([programs / "pip", "install", "--quiet", archive.resolve()], check=True)
        subprocess.run([programs / "python", "-c", FRAME], cwd=folder, check=True)
        subprocess.run([programs / "polypseg", "predict", "frame.png", "-o", "mask.png"], cwd=folder, check=True)
        if not (folder / "mask.png").is_file():
            raise SystemExit(f"{archive}: no mask was written")
        print(f"{archive.name}: installed, and predicted a frame")


if __name__ == "__main__":
    archives = sorted([*Path(sys.argv[1]).glob("*.whl"), *Path(sys.argv[1]).glob("*.tar.gz")])
    if len(archives) != 2:
        raise SystemExit(f"{sys.argv[1]}: expected one wheel and one sdist, found {len(archives)} files")
    for archive in archives:
        try_archive(archive)
