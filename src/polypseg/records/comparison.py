"""comparison.json: two evaluations in one metric; the file holds a list of them."""

from polypseg.records.reading import Number, Saved


class DifferingImage(Saved):
    """An image in which two evaluations differ: name, score of the first, score of the second."""

    name: str
    first: float
    second: float


class ComparisonRecord(Saved):
    """Two evaluations in one metric; what is unknown is None.

    Attributes:
        first: Label of the one.
        second: Label of the other.
        metric: Column of scores.csv.
        images: polyp or polyp-free.
        first_mean: Over the images that both have a value for.
        second_mean: The same of the other.
        difference: Mean of first minus second.
        low: Lower end of its interval.
        high: Upper end.
        num_pairs: Images that both have a value for.
        num_missing: The others.
        wilcoxon_p: Of Wilcoxon's signed-rank test.
        permutation_p: Of the permutation test.
        wilcoxon_p_holm: Adjusted for the number of pairs of evaluations.
        permutation_p_holm: The same.
        wins: Images in which the first is better.
        losses: In which the second is.
        ties: In which neither is.
        largest: The images in which they differ most, the largest difference first.
    """

    first: str
    second: str
    metric: str
    images: str
    first_mean: Number
    second_mean: Number
    difference: Number
    low: Number
    high: Number
    num_pairs: int
    num_missing: int
    wilcoxon_p: Number
    permutation_p: Number
    wilcoxon_p_holm: Number
    permutation_p_holm: Number
    wins: int
    losses: int
    ties: int
    largest: tuple[DifferingImage, ...]
