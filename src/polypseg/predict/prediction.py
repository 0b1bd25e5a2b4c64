"""What a model says of one image, at the image's own size."""

from dataclasses import dataclass

from polypseg.arrays import Image, Mask, Probability
from polypseg.errors import ModelError
from polypseg.overlay import DOUBTFUL, TRUE_POSITIVE, Colour, contour, line_width_px, overlay
from polypseg.predict.attention import AttentionMap, level_to_show
from polypseg.predict.doubt import UNKNOWN, Doubt
from polypseg.predict.nested import doubtful_band
from polypseg.preprocess import Field


@dataclass(frozen=True, repr=False)
class Prediction:
    """What a model says of one image, at the image's own size; printed, it is one line.

    Attributes:
        image: Shape (H, W, 3), uint8.
        probability: Shape (H, W), float32 in [0, 1].
        mask: Shape (H, W), bool.
        threshold: The probability from which on a pixel is polyp.
        seconds: From the image in memory to the mask, shared out over a batch.
        field: The part of the image that the model saw; outside of it the probability is 0.
        note: What a reader should know of it; empty for nothing.
        outer: Shape (H, W), bool: the mask that misses little, by the calibration; None without one, as the next.
        inner: The mask of which little is no polyp. Always inner ⊆ mask ⊆ outer.
        doubt: How doubtful its mark and its outline are; NaN where nobody worked it out.
    """

    image: Image
    probability: Probability
    mask: Mask
    threshold: float
    seconds: float
    field: Field
    note: str = ""
    _attention: tuple[AttentionMap, ...] = ()
    outer: Mask | None = None
    inner: Mask | None = None
    doubt: Doubt = UNKNOWN

    def __repr__(self) -> str:
        height, width = self.mask.shape
        return (
            f"Prediction({height}x{width} px, polyp in {100 * self.mask.mean():.1f} % of the image, largest "
            f"probability {self.probability.max():.3f}, threshold {self.threshold:.3g}, {self.seconds:.3f} s)"
        )

    def overlay(self, colour: Colour = TRUE_POSITIVE, opacity: float = 0.4) -> Image:
        """The image with the mask tinted and outlined, and the doubtful band yellow, (H, W, 3) uint8."""
        tinted = overlay(self.image, self.mask, colour, opacity)
        if self.band is not None:
            tinted[self.band] = overlay(self.image, self.band, DOUBTFUL, opacity)[self.band]
        return contour(tinted, self.mask, width_px=line_width_px(self.mask.shape))

    @property
    def band(self) -> Mask | None:
        """What lies between the inner and the outer mask, or the mask where there is one of them alone; None without.

        Shape (H, W), bool: pixels that may be polyp or not.
        """
        return doubtful_band(self.mask, self.outer, self.inner)

    def attention(self) -> list[AttentionMap]:
        """The gates' coefficients, the finest level first.

        Raises:
            ModelError: They were not asked for (`PredictOptions.attention`).
        """
        if not self._attention:
            raise ModelError("this prediction holds no attention; ask for it: PredictOptions(attention=True)")
        return list(self._attention)

    def level_to_show(self) -> int:
        """The gate whose coefficients agree best with the mask (`attention.level_to_show`).

        Raises:
            ModelError: As `attention`.
        """
        return level_to_show(self.attention(), self.mask, self.field) or 1
