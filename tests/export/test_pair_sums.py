"""Sums of two products, counted against loops over every output, column and row."""

import numpy as np
import pytest
from onnx import numpy_helper

from export.integer_graph import integer_graph, squares, weights_of
from polypseg.export.pair_sums import (
    count_saturating,
    from_rows,
    pairings,
    quantised_convolutions,
    rows_of,
    unsafe_layers,
    unsafe_outputs,
)


def leaves(first, second):
    return not -32768 <= first + second <= 32767


def counted_by_loops(weights, image):
    """Of the convolution of stride 2, one row of zeros below and one column to the right: pairs in both orders."""
    padded = np.pad(image.astype(int), ((0, 1), (0, 1), (0, 0)))
    pairs = {((r, c, 0), (r, c, 1)) for r in range(3) for c in range(3)}  # two channels at one place; the third alone
    places = [(r, c, channel) for r in range(3) for c in range(3) for channel in range(3)]
    pairs |= {(places[k], places[k + 1]) for k in range(0, 26, 2)}
    total = 0
    for kernel in weights.astype(int):
        for row in range(0, image.shape[0], 2):
            for column in range(0, image.shape[1], 2):
                seen = padded[row : row + 3, column : column + 3]
                for a, b in pairs:
                    total += leaves(*(seen[p] * kernel[p[2], p[0], p[1]] for p in (a, b)))
    return total


def test_count_is_that_of_loops():
    first, second = weights_of(127)
    images = squares(2)
    expected = sum(counted_by_loops(first, image) for image in images)
    assert expected > 20  # else nothing would be counted
    assert count_saturating(integer_graph(first, second), images)["conv"] == expected


def test_weights_of_seven_bits_cannot_saturate():
    graph = integer_graph(*weights_of(64))
    assert unsafe_layers(graph) == {}
    assert count_saturating(graph, squares(1)) == {"conv": 0, "up": 0}


def test_one_pair_is_enough():
    first, second = weights_of(20)
    first[3, 0, 2, 1], first[3, 1, 2, 1] = 100, 29  # channels 0 and 1 of one place: 129 x 255 = 32895
    assert unsafe_layers(integer_graph(first, second)) == {"conv": 1}
    first[3, 1, 2, 1] = 28
    assert unsafe_layers(integer_graph(first, second)) == {}
    first[3, 1, 2, 1], first[3, 2, 0, 0], first[3, 0, 0, 1] = 0, 100, 29  # neighbours from place to place: MLAS alone
    assert unsafe_layers(integer_graph(first, second)) == {"conv": 1}
    first[3, 0, 0, 1], first[3, 1, 0, 2] = 0, 100  # large ones that nobody adds in 16 bits
    assert unsafe_layers(integer_graph(first, second)) == {}


def test_transposed_convolution_pairs_its_inputs():
    first, second = weights_of(20)
    second[:2, 0, 1, 0] = -100  # -200 x 255 is far below -32768
    assert unsafe_layers(integer_graph(first, second)) == {"up": 1}
    second[1, 0, 1, 0] = 0
    second[1, 0, 0, 0] = -100  # another place of the kernel is another sum
    assert unsafe_layers(integer_graph(first, second)) == {}


def test_signed_activations_are_not_understood():
    graph = integer_graph(*weights_of(20))
    zero = next(stored for stored in graph.graph.initializer if stored.name == "between_zero")
    zero.CopyFrom(numpy_helper.from_array(np.zeros((), np.int8), zero.name))
    assert quantised_convolutions(graph) == []
    assert unsafe_layers(graph) == {}
    assert count_saturating(graph, squares(1)) == {}


def test_depthwise_convolutions_add_no_pairs():
    conv, up = quantised_convolutions(integer_graph(*weights_of(127)))
    depthwise = conv._replace(weights=np.full((4, 1, 9), 127, np.int8))
    assert pairings(depthwise) == []
    assert unsafe_outputs(depthwise) == 0
    assert unsafe_outputs(up) > 0


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_rows_come_back(kind):
    values = np.arange(5 * 4 * 9).reshape(5, 4, 3, 3)
    assert (from_rows(rows_of(values, kind, 1), kind, values.shape) == values).all()


def test_layers_are_read_as_they_stand():
    first, second = weights_of(127)
    conv, up = quantised_convolutions(integer_graph(first, second))
    assert (conv.name, conv.kind, conv.strides, conv.pads, conv.zero_point) == ("conv", "Conv", (2, 2), (0, 0, 1, 1), 0)
    assert conv.weights.shape == (1, 5, 27)
    assert (conv.weights[0, 2, :3] == first[2, :, 0, 0]).all()  # the channel fastest
    assert (up.weights[0, 3] == second[:, 0, 1, 1]).all()  # output 0, row 1, column 1
