"""How well two clicks outline a polyp that the model missed: the page's way (web/propose.js) and three simpler ones.

python benchmarks/two_clicks.py CVC-CLINICDB

The folder holds images/ and masks/. Clicks are simulated at the ends of a polyp's long axis, drawn in by 5 %, with 2
pixels of noise. A polyp counts as missed where less than a fifth of its pixels are in the model's mask.
"""

import sys
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from polypseg.metrics.overlap import dice
from polypseg.predict.predictor import load

CORNERS = np.ones((3, 3), int)
LONGER, ASPECT, WEIGHT, AROUND = 1.08, 0.8, 0.3, 2
EVERY, SMALLEST, MISSED = 2, 100, 0.2

Mask = NDArray[np.bool_]
Point = NDArray[np.int_]


def clicks(polyp: Mask, rng: np.random.Generator) -> tuple[Point, Point]:
    """Two pixels (column, row) near the ends of a region's long axis."""
    rows, columns = np.nonzero(polyp)
    points = np.stack([columns, rows], 1).astype(float)
    along = np.linalg.eigh(np.cov((points - points.mean(0)).T))[1][:, 1]
    place = (points - points.mean(0)) @ along
    first, second = points[place.argmin()], points[place.argmax()]
    ends = (first + 0.05 * (second - first), second + 0.05 * (first - second))
    limits = np.array(polyp.shape[::-1]) - 1
    a, b = (np.clip(np.rint(end + rng.normal(0, 2, 2)), 0, limits).astype(int) for end in ends)
    return a, b


def distance(shape: tuple[int, ...], a: Point, b: Point, longer: float, aspect: float) -> NDArray[np.float64]:
    """1 on the edge of the ellipse along the clicks."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    middle, half = (a + b) / 2, max(1.0, float(np.hypot(*(b - a))) / 2)
    ux, uy = (b - a) / 2 / half
    dx, dy = columns - middle[0], rows - middle[1]
    found = np.hypot((dx * ux + dy * uy) / (longer * half), (dy * ux - dx * uy) / (longer * half * aspect))
    return np.asarray(found, np.float64)


def joined(levels: NDArray[np.uint8], a: Point, b: Point) -> Mask:
    """The region of the largest threshold that holds both clicks."""
    low, high = 0, int(min(levels[a[1], a[0]], levels[b[1], b[0]]))
    while low < high:
        middle = (low + high + 1) // 2
        labels = ndimage.label(levels >= middle, CORNERS)[0]
        if labels[a[1], a[0]] == labels[b[1], b[0]]:
            low = middle
        else:
            high = middle - 1
    labels = ndimage.label(levels >= low, CORNERS)[0]
    return np.asarray(labels == labels[a[1], a[0]])


def regions(levels: NDArray[np.uint8], a: Point, b: Point) -> dict[str, Mask]:
    """The region of each way, by its name."""
    shape = levels.shape
    from_disc, from_ellipse = distance(shape, a, b, 1, 1), distance(shape, a, b, LONGER, ASPECT)
    low, high = np.quantile(levels[from_ellipse < AROUND], [0.1, 0.9])
    share = np.clip((levels - low) / (high - low), 0, 1) if high > low else np.full(shape, 0.5)
    whole = joined(levels, a, b)
    return {
        "joined by a threshold, within 1.1": whole & (from_disc <= 1.1),
        "joined by a threshold, within 1.3": whole & (from_disc <= 1.3),
        "disc": from_disc <= 1,
        "ellipse": from_ellipse < 1,
        "ellipse, edge moved by the map": 1 - from_ellipse + WEIGHT * (share - 0.5) > 0,
    }


def main(folder: Path) -> None:
    """Print the mean Dice of each way."""
    predictor, scores = load("polyp-lite", "onnxruntime"), dict[str, list[float]]()
    numbers = count()
    for path in sorted((folder / "images").iterdir(), key=lambda path: (len(path.name), path.name))[::EVERY]:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        reference = cv2.imread(str(folder / "masks" / path.name), cv2.IMREAD_GRAYSCALE) > 127
        found = predictor.predict(image)
        labels, num_polyps = ndimage.label(reference, CORNERS)
        for polyp in (labels == label for label in range(1, num_polyps + 1)):
            if polyp.sum() < SMALLEST:
                continue
            number = next(numbers)
            if found.mask[polyp].mean() >= MISSED:
                continue
            a, b = clicks(polyp, np.random.default_rng(number))
            levels = np.rint(255 * found.probability).astype(np.uint8)
            for name, region in regions(levels, a, b).items():
                scores.setdefault(name, []).append(dice(ndimage.binary_fill_holes(region), polyp))
    print(f"polyps that were missed: {len(next(iter(scores.values()), []))}")
    for name, values in scores.items():
        print(f"{name:36} mean Dice {np.mean(values):.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
