"""The picture of a model: what is found in its graph, where it is placed, and the files that are written."""

import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise
from pathlib import Path

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from PIL import Image

from polypseg.errors import MissingExtraError, ModelError
from polypseg.models.attention_unet import attention_unet, unet
from polypseg.models.graph import draw, draw_model
from polypseg.models.graph.blocks import blocks_of
from polypseg.models.graph.layout import COLUMN_GAP, GraphBlock, LayerPart, arrange
from polypseg.models.graph.paint import paint
from polypseg.models.graph.trace import trace


@pytest.fixture(scope="module")
def small():
    return attention_unet((16, 32, 3), filters=2, depth=1)


def anonymous_gate(skip, gating):
    """An attention gate as an operation on tensors, with names of Keras' own making."""
    joint = layers.ReLU()(layers.Add()([layers.Conv2D(2, 1)(skip), layers.UpSampling2D()(layers.Conv2D(2, 1)(gating))]))
    return skip * keras.ops.sigmoid(layers.Conv2D(1, 1)(joint))


def block(level, *parents, kind="convolution"):
    return GraphBlock(kind, (LayerPart((f"layer_{level}",), "3×3 conv", 8, ("BN", "ReLU"), "8×8×8"),), level, parents)


def texts(blocks):
    return [each.parts[0].text for each in blocks]


def drawn_names(svg):
    """Every layer that an SVG carries as the id of a block or of a line in a gate."""
    ids = [element.get("id", "") for element in ElementTree.parse(svg).iter()]
    return [name for each in ids for name in each.split("+")]


def test_trace_lists_parents_before_children():
    first, second = keras.Input((4, 4, 1), name="first"), keras.Input((4, 4, 1), name="second")
    shared = layers.Conv2D(2, 3, padding="same", name="shared")
    model = keras.Model([first, second], layers.Add(name="sum")([shared(second), shared(first)]))
    steps = trace(model)
    assert [(step.name, step.parents) for step in steps] == [
        ("second", ()),
        ("shared", (0,)),
        ("first", ()),
        ("shared#2", (2,)),
        ("sum", (1, 3)),
    ]
    assert [step.shape for step in steps[:2]] == [(4, 4, 1), (4, 4, 2)]
    assert [step.returned for step in steps] == [False] * 4 + [True]


def test_blocks_of_a_small_attention_unet(small):
    blocks = blocks_of(small)
    found = {each.title or each.parts[0].text: (each.kind, each.level, each.parents) for each in blocks}
    # image > encoder > pool > bottleneck; gate from encoder (x) and bottleneck (g); up-conv; concat; decoder; head
    assert found == {
        "image": ("input", 0, ()),
        "encoder 1": ("convolution", 0, (0,)),
        "2×2 max pool": ("resample", 1, (1,)),
        "bottleneck": ("convolution", 1, (2,)),
        "gate 1": ("gate", 0, (1, 3)),
        "2×2 up-conv": ("convolution", 0, (3,)),
        "concat": ("merge", 0, (4, 5)),
        "decoder 1": ("convolution", 0, (6,)),
        "head": ("output", 0, (7,)),
    }
    encoder = blocks[1].parts[0]
    assert (encoder.text, encoder.filters, encoder.after, encoder.shape) == (
        "2 × 3×3 conv",
        2,
        ("BN", "ReLU"),
        "16×32×2",
    )
    assert len(encoder.names) == 6


def test_blocks_of_a_gate_are_listed_in_order(small):
    gate = next(each for each in blocks_of(small) if each.kind == "gate")
    found = [(part.text, part.filters, part.after, part.shape) for part in gate.parts]
    assert found == [
        ("θ 2×2 conv /2", 2, ("BN",), "8×16×2"),
        ("φ 1×1 conv", 2, ("BN",), "8×16×2"),
        ("+", None, ("ReLU",), "8×16×2"),
        ("ψ 1×1 conv", 1, ("BN", "σ"), "8×16×1"),
        ("α 2×2 up, bilinear", None, (), "16×32×1"),
        ("×", None, (), "16×32×2"),
    ]
    assert [each.parts[0].text for each in gate.inner[:2]] == ["x: encoder 1", "g: bottleneck"]
    # after x (0) and g (1): theta 2, phi 3, add 4, psi 5, attention 6, product of x and attention 7
    assert [each.parents for each in gate.inner] == [(), (), (0,), (1,), (2, 3), (4,), (5,), (0, 6)]


@pytest.mark.parametrize("build", [attention_unet, unet])
def test_blocks_hold_every_layer_once(build):
    model = build((32, 32, 3), filters=2, depth=3, dropout=0.1)
    names = [name for each in blocks_of(model) for name in each.names]
    assert sorted(names) == sorted(layer.name for layer in model.layers)
    assert sum(each.kind == "gate" for each in blocks_of(model)) == (3 if build is attention_unet else 0)


def test_blocks_find_a_gate_without_its_names():
    image = keras.Input((16, 16, 3))
    deep = layers.Conv2D(4, 3, padding="same")(layers.MaxPooling2D()(image))
    skip = layers.Conv2D(2, 3, padding="same")(image)
    merged = layers.Concatenate()([anonymous_gate(skip, deep), layers.UpSampling2D()(deep)])
    gates = [each for each in blocks_of(keras.Model(image, merged)) if each.kind == "gate"]
    assert [len(each.parts) for each in gates] == [6]
    assert gates[0].title == "gate"


def test_blocks_take_a_product_without_a_sigmoid_for_no_gate():
    image = keras.Input((8, 8, 3))
    product = layers.Multiply()([layers.Conv2D(2, 1)(image), layers.Conv2D(2, 1, activation="relu")(image)])
    assert [each.kind for each in blocks_of(keras.Model(image, layers.ReLU()(product)))][-1] == "output"
    assert "gate" not in {each.kind for each in blocks_of(keras.Model(image, layers.Conv2D(1, 1)(product)))}


def test_blocks_leave_out_of_a_gate_what_others_use_too():
    image = keras.Input((8, 8, 2))
    coefficients = layers.Conv2D(2, 1, activation="sigmoid", name="coefficients")(image)
    shown = layers.Conv2D(1, 1)(coefficients)
    model = keras.Model(image, [layers.Conv2D(1, 1)(layers.Multiply()([image, coefficients])), shown])
    assert "gate" not in {each.kind for each in blocks_of(model)}


def test_blocks_do_not_swallow_a_layer_that_has_two_readers():
    image = keras.Input((8, 8, 3))
    features = layers.Conv2D(2, 1)(image)
    model = keras.Model(image, layers.Add()([layers.ReLU()(features), features]))
    assert texts(blocks_of(model))[1:] == ["1×1 conv", "ReLU", "+"]


def test_blocks_keep_a_returned_layer_apart():
    image = keras.Input((8, 8, 3))
    logits = layers.Conv2D(1, 1)(image)
    blocks = blocks_of(keras.Model(image, [logits, layers.Activation("sigmoid")(logits)]))
    assert [each.kind for each in blocks] == ["input", "output", "output"]


def test_blocks_count_equal_convolutions_only():
    image = keras.Input((8, 8, 4))
    x = image
    for filters in (4, 4, 4, 6):
        x = layers.Conv2D(filters, 3, padding="same")(x)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    assert texts(blocks_of(model))[1:] == ["3 × 3×3 conv", "3×3 conv", "global mean"]


def test_blocks_of_open_sides_are_parts_of_the_inputs():
    blocks = blocks_of(attention_unet((None, None, 3), filters=2, depth=2))
    shapes = {each.title: (each.parts[-1].shape, each.level) for each in blocks}
    assert shapes["encoder 1"] == ("H×W×2", 0)
    assert shapes["encoder 2"] == ("H/2×W/2×4", 1)
    assert shapes["bottleneck"] == ("H/4×W/4×8", 2)
    assert shapes["gate 2"] == ("H/2×W/2×4", 1)


def test_levels_follow_the_sides_and_stay_where_there_are_none():
    model = keras.Sequential(
        [
            keras.Input((30, 30, 1)),
            layers.Conv2D(2, 3),  # 28: still level 0, log2(30 / 28) = 0.1
            layers.MaxPooling2D(),  # 14: log2(30 / 14) = 1.1
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    assert [each.level for each in blocks_of(model)] == [0, 0, 1, 1, 1]


def test_arrange_puts_pool_and_gate_over_their_neighbours(small):
    blocks = blocks_of(small)
    boxes = dict(zip([each.title or each.parts[0].text for each in blocks], arrange(blocks).boxes, strict=True))
    columns = {name: box.column for name, box in boxes.items()}
    assert columns == {
        "image": 0,
        "encoder 1": 1,
        "2×2 max pool": 1,
        "bottleneck": 2,
        "gate 1": 2,
        "2×2 up-conv": 3,
        "concat": 3,
        "decoder 1": 4,
        "head": 5,
    }
    row = [boxes[name].y for name in ("image", "encoder 1", "gate 1", "concat", "decoder 1", "head")]
    assert len(set(row)) == 1, "the finest level is one straight row"
    assert boxes["2×2 up-conv"].y > boxes["concat"].y
    assert boxes["bottleneck"].y == boxes["2×2 max pool"].y > boxes["2×2 up-conv"].y


def test_arrange_names_what_a_line_carries(small):
    blocks = blocks_of(small)
    pairs = [(source, target) for target, each in enumerate(blocks) for source in each.parents]
    carried = {
        (blocks[s].title, blocks[t].title): line.carries
        for (s, t), line in zip(pairs, arrange(blocks).lines, strict=True)
    }
    assert carried["encoder 1", "gate 1"] == "skip"
    assert carried["bottleneck", "gate 1"] == "signal"
    assert carried["decoder 1", "head"] == "flow"


def test_arrange_puts_a_branch_beside_the_block_that_waits_for_it():
    # 0 > 1 > 2 > 3 > 5 is the longest way; 4 needs 0 alone, and stands in the column before 5, not in that after 0
    blocks = [block(0, kind="input"), block(0, 0), block(0, 1), block(0, 2), block(0, 0), block(0, 3, 4, kind="merge")]
    assert [box.column for box in arrange(blocks).boxes] == [0, 1, 2, 3, 3, 4]


@st.composite
def graphs(draw):
    """Any graph of up to twelve blocks: each takes one to three blocks before it, at a level near theirs."""
    blocks = [block(0, kind="input")]
    for number in range(1, draw(st.integers(2, 12))):
        parents = draw(st.lists(st.integers(0, number - 1), min_size=1, max_size=3, unique=True))
        level = max(0, blocks[parents[0]].level + draw(st.integers(-1, 1)))
        kind = draw(st.sampled_from(["convolution", "resample", "other"])) if len(parents) == 1 else "merge"
        blocks.append(block(level, *parents, kind=kind))
    return blocks


@settings(deadline=None, max_examples=60)
@given(graphs())
def test_arrange_keeps_boxes_apart_and_time_to_the_right(blocks):
    layout = arrange(blocks)
    for a, b in combinations(layout.boxes, 2):
        apart = abs(a.x - b.x) >= (a.width + b.width) / 2 - 1e-9 or abs(a.y - b.y) >= (a.height + b.height) / 2 - 1e-9
        assert apart
    for each, box in zip(blocks, layout.boxes, strict=True):
        assert all(layout.boxes[parent].column <= box.column for parent in each.parents)
        upper, lower = layout.levels[each.level]
        assert upper - 1e-9 <= box.y - box.height / 2
        assert box.y + box.height / 2 <= lower + 1e-9
        assert box.x - box.width / 2 >= -1e-9
        assert box.x + box.width / 2 <= layout.width + 1e-9


@settings(deadline=None, max_examples=60)
@given(graphs())
def test_arrange_leads_no_line_through_another_box(blocks):
    layout = arrange(blocks)
    pairs = [(source, target) for target, each in enumerate(blocks) for source in each.parents]
    for (source, target), line in zip(pairs, layout.lines, strict=True):
        if layout.boxes[source].column == layout.boxes[target].column:
            continue
        for (x0, y0), (x1, y1) in pairwise(line.points):
            for box in (b for number, b in enumerate(layout.boxes) if number not in (source, target)):
                beside = max(x0, x1) <= box.x - box.width / 2 or min(x0, x1) >= box.x + box.width / 2
                above = max(y0, y1) <= box.y - box.height / 2 or min(y0, y1) >= box.y + box.height / 2
                assert beside or above


def test_draw_model_writes_png_and_svg_with_every_layer(small, tmp_path):
    png, svg = draw_model(small, tmp_path / "made" / "model.png", renderer="matplotlib")
    assert (png, svg) == (tmp_path / "made" / "model.png", tmp_path / "made" / "model.svg")
    names = drawn_names(svg)
    assert [names.count(layer.name) for layer in small.layers] == [1] * len(small.layers)
    figure = paint(blocks_of(small), "title")
    with Image.open(png) as picture:
        assert picture.size == tuple(int(side * draw.DOTS_PER_INCH) for side in figure.get_size_inches())
    assert sorted(each.name for each in png.parent.iterdir()) == ["model.png", "model.svg"]


def test_draw_model_keeps_dots_in_a_name(small, tmp_path):
    assert draw_model(small, tmp_path / "unet.v2", "matplotlib")[0].name == "unet.v2.png"


def test_draw_model_shows_every_layer_of_the_reference_model(tmp_path):
    model = attention_unet((256, 256, 3), filters=16, depth=4)
    _, svg = draw_model(model, tmp_path / "model", renderer="matplotlib")
    assert {layer.name for layer in model.layers} <= set(drawn_names(svg))


def test_draw_model_takes_any_functional_model(tmp_path):
    left, right = keras.Input((16, 16, 2), name="left"), keras.Input((16, 16, 2), name="right")
    shared = layers.Conv2D(2, 3, strides=2, padding="same", name="shared")
    tail = keras.Sequential([keras.Input((8, 8, 2)), layers.Conv2D(1, 1)], name=r"cost $\frac$")
    difference = keras.ops.abs(shared(left) - shared(right))
    squeezed = layers.Dense(2, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(difference))
    attended = layers.Multiply()([difference, squeezed])
    model = keras.Model([left, right], [tail(attended), layers.Dense(3)(layers.Flatten()(attended))])
    _, svg = draw_model(model, tmp_path / "model", renderer="matplotlib")
    assert {"left", "right", "shared", "shared#2", r"cost $\frac$"} <= set(drawn_names(svg))


def test_draw_model_shrinks_a_picture_that_would_be_too_large(small, tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "MOST_DOTS", 500)
    with Image.open(draw_model(small, tmp_path / "model", "matplotlib")[0]) as picture:
        assert max(picture.size) in (499, 500)


def test_draw_model_refuses_a_model_without_a_graph(tmp_path):
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ModelError, match="no graph of layers"):
        draw_model(Subclassed(), tmp_path / "model")


def test_draw_model_keeps_the_old_file_when_writing_fails(small, tmp_path, monkeypatch):
    (tmp_path / "model.png").write_bytes(b"old")

    def fail(self, target):
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        draw_model(small, tmp_path / "model", renderer="matplotlib")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("model.png", b"old")]


def test_draw_model_asks_for_graphviz_only_where_it_is_wanted(small, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match="apt install graphviz"):
        draw_model(small, tmp_path / "model", renderer="graphviz")
    _, svg = draw_model(small, tmp_path / "model", renderer="auto")
    assert "encoder_1_pool" in drawn_names(svg)


def test_draw_model_hands_the_layers_to_dot_where_it_is_installed(small, tmp_path, monkeypatch):
    # A stand-in for the program: returns the graph that it was given, wrapped as an SVG, whatever the format.
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "<svg format=\\"$1\\"><![CDATA["; /bin/cat; echo "]]></svg>"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    png, svg = draw_model(small, tmp_path / "model")
    for path, ending in ((png, "png"), (svg, "svg")):
        root = ElementTree.parse(path).getroot()
        assert root.get("format") == f"-T{ending}"
        assert all(layer.name in (root.text or "") for layer in small.layers)


def test_draw_model_draws_blocks_where_dot_fails(small, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "Fontconfig error" >&2\nkill -ABRT $$\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    _, svg = draw_model(small, tmp_path / "model")
    assert "encoder_1_pool" in drawn_names(svg)
    with pytest.raises(ModelError, match=r"dot failed \(code -6: Fontconfig error\); take the renderer matplotlib$"):
        draw_model(small, tmp_path / "model", renderer="graphviz")


def dot_draws() -> bool:
    dot = shutil.which("dot")
    source = b'digraph { a [label="word"] }'
    return dot is not None and subprocess.run([dot, "-Tpng"], input=source, capture_output=True).returncode == 0


@pytest.mark.skipif(not dot_draws(), reason="Graphviz's program dot is not installed, or does not work")
def test_draw_model_through_graphviz_itself(small, tmp_path):
    png, svg = draw_model(small, tmp_path / "model", renderer="graphviz")
    content = svg.read_text(encoding="utf-8")
    assert ElementTree.fromstring(content).tag.endswith("svg")
    assert all(layer.name in content for layer in small.layers)
    with Image.open(png) as picture:
        assert picture.format == "PNG"


def test_paint_changes_no_global_state_of_matplotlib():
    script = """
import sys
from polypseg.models.graph.layout import GraphBlock, LayerPart
from polypseg.models.graph.paint import paint
assert "matplotlib" not in sys.modules, "imported before anything is drawn"
import matplotlib
before = matplotlib.rcParams.copy()
blocks = [GraphBlock("input", (LayerPart(("image",), "image", None, (), "8×8×3"),), 0, ())]
paint(blocks, "network").savefig(sys.argv[1])
assert matplotlib.rcParams.copy() == before
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script, "/dev/null"], check=True, timeout=120)


def test_column_gap_leaves_room_for_an_arrow():
    # an arrow's head is 6 points long, so the gap must be more than 6/72 of an inch
    layout = arrange([block(0, kind="input"), block(0, 0)])
    (start, tip) = layout.lines[0].points
    assert tip[0] - start[0] == pytest.approx(COLUMN_GAP)
    assert COLUMN_GAP > 2 * 6 / 72
