"""Connected components by walking from pixel to pixel, and their matching pair by pair."""

import numpy as np

Component = frozenset[tuple[int, int]]


def components(mask: np.ndarray) -> list[Component]:
    left = {(row, column) for row in range(mask.shape[0]) for column in range(mask.shape[1]) if mask[row, column]}
    found = []
    while left:
        frontier, component = [left.pop()], set()
        while frontier:
            row, column = frontier.pop()
            component.add((row, column))
            for near in [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    frontier.append(near)
        found.append(frozenset(component))
    return found


def meet(finding: Component, lesion: Component, min_iou: float) -> bool:
    shared = len(finding & lesion)
    return shared > 0 and shared / len(finding | lesion) >= min_iou


def count(predicted: np.ndarray, reference: np.ndarray, min_iou: float, min_area: int) -> tuple[int, ...]:
    """Lesions, found lesions, findings, false findings, area of the largest false finding."""
    findings = [each for each in components(predicted) if len(each) >= min_area]
    lesions = [each for each in components(reference) if len(each) >= min_area]
    found = [lesion for lesion in lesions if any(meet(finding, lesion, min_iou) for finding in findings)]
    false = [finding for finding in findings if not any(meet(finding, lesion, min_iou) for lesion in lesions)]
    return len(lesions), len(found), len(findings), len(false), max((len(each) for each in false), default=0)
