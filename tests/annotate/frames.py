"""Synthetic frames as processors give them: a picture in a black surround, with text where it is wanted."""

import cv2
import numpy as np

from polypseg.data.synthetic import synthetic_image

HEIGHT, WIDTH = 480, 640
BOX = (40, 430, 130, 510)
"""First and last row, first and last column of the picture."""

CORNERS = {"top left": (14, 24), "top right": (470, 24), "bottom left": (14, 470), "bottom right": (470, 470)}
"""Where text begins: (x, y of its base line)."""

CUT = 60
"""Legs of the corners that are cut off the picture."""


def octagon():
    """The pixels of the picture."""
    top, bottom, left, right = BOX
    corners = [
        (left + CUT, top), (right - CUT, top), (right, top + CUT), (right, bottom - CUT),
        (right - CUT, bottom), (left + CUT, bottom), (left, bottom - CUT), (left, top + CUT),
    ]  # fmt: skip
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillConvexPoly(mask, np.array(corners, np.int32), 1)
    return mask.astype(bool)


def picture(seed=0):
    """A frame without text."""
    top, bottom, left, right = BOX
    inner, mask = synthetic_image(np.random.default_rng(seed), (bottom - top, right - left))
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[top:bottom, left:right] = (0.85 * inner + 38).astype(np.uint8)  # no darker than mucosa is
    frame[~octagon()] = 0
    polyp = np.zeros((HEIGHT, WIDTH), bool)
    polyp[top:bottom, left:right] = mask
    return frame, polyp & octagon()


def write(frame, text, place, scale=0.6):
    """The frame with a line of white text that begins at (x, y)."""
    return cv2.putText(frame.copy(), text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
