"""COCO files of toy procedures, drawn at random or by hand."""

import numpy as np


def image(number, name):
    return {"id": number, "file_name": name, "width": 100, "height": 100}


def box(number, image_id, where, lesion):
    return {"id": number, "image_id": image_id, "category_id": 1, "bbox": list(where), "unique_id": lesion}


def drawn(seed, num_frames=60, names="001-00{}_{}.jpg"):
    """Two procedures with lesions in some frames; findings hit, miss and repeat, some with equal scores."""
    rng = np.random.default_rng(seed)
    images, annotations, found = [], [], []
    for number in range(2 * num_frames):
        video, frame = divmod(number, num_frames)
        images.append(image(number + 7, names.format(video, frame)))
        shown = [place for place in range(3) if 15 * place <= frame < 15 * place + 20 and rng.random() < 0.7]
        for place in shown:
            where = [float(10 * place + frame % 7), 20.0 + place, 12.5 + place, 9.25]
            annotations.append(box(len(annotations) + 1, number + 7, where, f"001-00{video}_{place}"))
            for _ in range(rng.integers(0, 3)):
                moved = [where[0] + rng.normal(0, 6), where[1] + rng.normal(0, 6), *rng.uniform(4, 16, 2)]
                found.append((number + 7, moved, rng.integers(1, 20) / 20))
        for _ in range(rng.integers(0, 2)):
            found.append((number + 7, rng.uniform(0, 90, 4).tolist(), rng.integers(1, 16) / 20))
    results = [
        {"image_id": number, "category_id": 1, "bbox": [float(value) for value in where], "score": float(score)}
        for number, where, score in found
    ]
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "polyp"}]}
    return truth, results


def row(positive, negative):
    """A procedure of one frame a score: a lesion with a finding on it of that score (0 for none), or a clean frame."""
    images = [image(number + 1, f"v_{number}.jpg") for number in range(len(positive) + len(negative))]
    annotations = [box(n + 1, n + 1, (10, 10, 20, 20), "v_1") for n in range(len(positive))]
    scores = [*positive, *negative]
    results = [
        {"image_id": number + 1, "category_id": 1, "bbox": [10, 10, 20, 20], "score": score}
        for number, score in enumerate(scores)
        if score
    ]
    return {"images": images, "annotations": annotations, "categories": []}, results
