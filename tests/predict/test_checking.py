"""What a model gives, looked at when it is opened and at each batch."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from polypseg.errors import ModelError
from polypseg.predict.engines.checking import check_probabilities, refuse_external_weights
from polypseg.predict.engines.model_file import write_model_file
from polypseg.predict.engines.opening import open_engine
from polypseg.predict.mirroring import run_augmented
from polypseg.predict.predictor import Predictor
from polypseg.records.model_facts import ModelFacts
from predict.tiny_model import SIZE, tiny_graph, write_tiny_model
from predict.video_making import Redness

ENGINES = ["onnxruntime", "openvino"]


def changed(path, add, size=SIZE, **facts):
    """The tiny model, its probability changed by the node `add(name in, name out)`."""
    model = tiny_graph()
    model.graph.node[0].output[0] = "plain"
    nodes, constants = add("plain", "probability")
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    write_model_file(path, model.SerializeToString(), ModelFacts(size=size, attention_levels=(1,), **facts))
    return path


def times(factor):
    def add(given, found):
        return [helper.make_node("Mul", [given, "factor"], [found])], [
            numpy_helper.from_array(np.float32(factor), "factor")
        ]

    return add


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (5, r"m\.onnx: the model gives values from 0.* to 4\.\d+; expected probabilities in \[0, 1\]: end it"),
        (-1, r"m\.onnx: the model gives values from -(1|0\.9\d*) to -?0.*expected probabilities"),
        (np.nan, r"m\.onnx: the model gives no number \(NaN\)"),
    ],
)
def test_an_exported_model_that_gives_no_probabilities_is_refused_at_once(tmp_path, engine, factor, message):
    path = changed(tmp_path / "m.onnx", times(factor))
    with pytest.raises(ModelError, match=message):
        open_engine(path, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_size_that_is_not_the_graphs_is_refused(tmp_path, engine):
    path = changed(tmp_path / "m.onnx", times(1), size=2 * SIZE)
    with pytest.raises(ModelError, match=r"m\.onnx: the model (cannot run a picture of 32x32 pixels|gives \()"):
        open_engine(path, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_beside_the_file_are_refused(tmp_path, engine):
    model = tiny_graph()
    weights = numpy_helper.from_array(np.ones(4, np.float32), "beside")
    model.graph.initializer.append(weights)
    onnx.external_data_helper.set_external_data(model.graph.initializer[-1], "weights.data")
    model.graph.initializer[-1].ClearField("raw_data")
    (tmp_path / "weights.data").write_bytes(np.ones(4, np.float32).tobytes())
    write_model_file(tmp_path / "m.onnx", model.SerializeToString(), ModelFacts(size=SIZE, attention_levels=(1,)))
    with pytest.raises(ModelError, match=r"m\.onnx: keeps weights in another file beside it"):
        open_engine(tmp_path / "m.onnx", engine)


def test_weights_beside_the_file_are_found_within_nodes(tmp_path):
    def inner(is_external):
        tensor = numpy_helper.from_array(np.ones(4, np.float32), "value")
        if is_external:
            onnx.external_data_helper.set_external_data(tensor, "weights.data")
        constant = helper.make_node("Constant", [], ["value"], value=tensor)
        out = helper.make_tensor_value_info("value", TensorProto.FLOAT, [4])
        branch = helper.make_graph([constant], "branch", [], [out])
        choice = helper.make_node("If", ["condition"], ["chosen"], then_branch=branch, else_branch=branch)
        graph = helper.make_graph([choice], "outer", [], [helper.make_tensor_value_info("chosen", 1, [4])])
        return helper.make_model(graph).SerializeToString()

    refuse_external_weights(inner(False), "m.onnx")
    with pytest.raises(ModelError, match="keeps weights in another file"):
        refuse_external_weights(inner(True), "m.onnx")


def test_any_damage_of_the_bytes_ends_the_search(tmp_path):
    content = write_tiny_model(tmp_path / "m.onnx").read_bytes()
    rng = np.random.default_rng(0)
    for end in rng.integers(0, len(content), 50):
        refuse_external_weights(content[:end], "m.onnx")
    refuse_external_weights(b"\xff" * 99, "m.onnx")


CHANGED = r"m\.onnx: not a model that polypseg exported, or a changed one: "


def cast(kind):
    return lambda given, found: ([helper.make_node("Cast", [given], [found], to=kind)], [])


def joined(given, found):
    return [helper.make_node("Concat", [given, given], [found], axis=3)], []


def with_other_input(path, name="image", kind=TensorProto.FLOAT, more=()):
    """The tiny model, fed by an input of another name or type, or by several."""
    model = tiny_graph()
    model.graph.input[0].name, model.graph.input[0].type.tensor_type.elem_type = name, kind
    for node in model.graph.node:
        node.input[0] = "fed"
    model.graph.node.insert(0, helper.make_node("Cast", [name], ["fed"], to=TensorProto.FLOAT))
    model.graph.input.extend(helper.make_tensor_value_info(each, TensorProto.FLOAT, ["N", 1]) for each in more)
    write_model_file(path, model.SerializeToString(), ModelFacts(size=SIZE, attention_levels=(1,)))
    return path


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": TensorProto.UINT8}, r"its inputs are image \((tensor\(uint8\)|u8)\); expected one, image, of 3 ch"),
        ({"kind": TensorProto.FLOAT16}, r"its inputs are image \((tensor\(float16\)|f16)\)"),
        ({"name": "picture"}, r"its inputs are picture \("),
        ({"more": ["mask"]}, r"its inputs are image \(.*\), mask \("),
    ],
)
def test_other_inputs_are_refused_in_every_engine(tmp_path, engine, options, message):
    """OpenVINO would feed them: shares that become bytes are 0, and all is background."""
    path = with_other_input(tmp_path / "m.onnx", **options)
    with pytest.raises(ModelError, match=CHANGED + message):
        open_engine(path, engine)


def with_other_output(path, kind):
    model = tiny_graph()
    model.graph.node[0].output[0] = "plain"
    model.graph.node.append(helper.make_node("Cast", ["plain"], ["probability"], to=kind))
    model.graph.output[0].type.tensor_type.elem_type = kind
    write_model_file(path, model.SerializeToString(), ModelFacts(size=SIZE, attention_levels=(1,)))
    return path


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["UINT8", "INT64", "BOOL"])
def test_whole_numbers_are_no_probabilities(tmp_path, engine, kind):
    path = with_other_output(tmp_path / "m.onnx", getattr(TensorProto, kind))
    with pytest.raises(ModelError, match=CHANGED + r"its output probability is .*; expected floats, one channel"):
        open_engine(path, engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["FLOAT16", "DOUBLE"])
def test_floats_of_another_length_are(tmp_path, engine, kind):
    opened = open_engine(with_other_output(tmp_path / "m.onnx", getattr(TensorProto, kind)), engine)
    found = opened.run(np.full((1, SIZE, SIZE, 3), 0.25, np.float32))
    assert (found.dtype, found.min(), found.max()) == (np.float32, 0.25, 0.25)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("levels", "add", "message"),
    [
        ((1, 2), times(1), CHANGED + "it has no output attention_2; it has probability, attention_1"),
        ((1,), joined, CHANGED + "its output attention_1 is .*, 2 channels; expected floats, one channel"),
        ((1,), times(np.nan), r"m\.onnx: the attention of level 1 is no map of shares: .*nan"),
        ((1,), times(9), r"m\.onnx: the attention of level 1 is no map of shares: \(1, 8, 8\), 0.* to 8\.\d+"),
    ],
    ids=["missing", "two channels", "NaN", "beyond 1"],
)
def test_coefficients_of_gates_are_looked_at_too(tmp_path, engine, levels, add, message):
    model = tiny_graph()
    model.graph.node[1].output[0] = "plain"
    nodes, constants = add("plain", "attention_1")
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    if add is joined:
        model.graph.output[1].type.tensor_type.shape.dim[3].dim_value = 2
    write_model_file(tmp_path / "m.onnx", model.SerializeToString(), ModelFacts(size=SIZE, attention_levels=levels))
    with pytest.raises(ModelError, match=message):
        open_engine(tmp_path / "m.onnx", engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("level", [0.25, 0.5, 0.9])
def test_one_number_for_every_picture_is_refused(tmp_path, engine, level):
    """What is left of a network whose weights are zeros: the sigmoid of its last bias."""

    def constant(given, found):
        nodes = helper.make_node("Mul", [given, "zero"], ["none"]), helper.make_node("Add", ["none", "level"], [found])
        return nodes, [numpy_helper.from_array(np.float32(v), n) for n, v in (("zero", 0), ("level", level))]

    path = changed(tmp_path / "m.onnx", constant)
    with pytest.raises(ModelError, match=rf"m\.onnx: the model says {level} of every pixel of every picture"):
        open_engine(path, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_that_answers_by_chance_is_refused(tmp_path, engine):
    path = changed(tmp_path / "m.onnx", lambda a, b: ([helper.make_node("RandomUniformLike", [a], [b])], []))
    with pytest.raises(ModelError, match=r"m\.onnx: the model answers one picture in two ways \(prob.*without dropout"):
        open_engine(path, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_that_the_runtime_cannot_run_is_an_error_of_the_model(tmp_path, engine):
    """A graph of one picture at a time: it runs the picture that it is asked with, and no two."""
    model = tiny_graph()
    for node in model.graph.node:
        node.input[0] = "fed"
    model.graph.node.insert(0, helper.make_node("Reshape", ["image", "one"], ["fed"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, SIZE, SIZE, 3]), "one"))
    write_model_file(tmp_path / "m.onnx", model.SerializeToString(), ModelFacts(size=SIZE, attention_levels=(1,)))
    opened = open_engine(tmp_path / "m.onnx", engine)
    with pytest.raises(ModelError, match="the model cannot run 2 pictures at once"):
        run_augmented(opened, np.zeros((2, SIZE, SIZE, 3), np.float32))


class TestKeras:
    def save(self, path, build):
        import keras

        image = keras.Input((16, 16, 3))
        keras.Model(image, build(keras, image)).save(path)
        return path

    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda k, x: k.layers.Conv2D(1, 1, bias_initializer=k.initializers.Constant(7.0))(x), "gives values from"),
            (
                lambda k, x: k.layers.Conv2D(2, 1, activation="softmax")(x),
                r"gives \[\(None, 16, 16, 2\)\]; expected one",
            ),
            (lambda k, x: k.layers.Conv2D(1, 2, 2, activation="sigmoid")(x), r"gives \[\(None, 8, 8, 1\)\]; expected"),
            (lambda k, x: [k.layers.Conv2D(1, 1, activation="sigmoid")(x)] * 2, "expected one output"),
            (lambda k, x: k.layers.Dense(1)(k.layers.Flatten()(x)), r"gives \[\(None, 1\)\]; expected one output"),
            (lambda k, x: k.layers.Rescaling(float("nan"))(k.layers.Conv2D(1, 1)(x)), r"no number \(NaN\)"),
        ],
        ids=["logits", "classes", "half size", "two outputs", "one number", "NaN"],
    )
    def test_a_foreign_model_is_refused_at_once(self, tmp_path, build, message):
        pytest.importorskip("keras")
        path = self.save(tmp_path / "FOREIGN.KERAS".replace("KERAS", "keras"), build)
        with pytest.raises(ModelError, match=rf"FOREIGN\.keras: .*{message}"):
            open_engine(path)

    def test_a_good_one_runs_whatever_the_case_of_its_ending(self, tmp_path):
        pytest.importorskip("keras")
        path = self.save(tmp_path / "good.keras", lambda k, x: k.layers.Conv2D(1, 1, activation="sigmoid")(x)).rename(
            tmp_path / "GOOD.KERAS"
        )
        assert open_engine(path).size == 16


def test_each_batch_is_looked_at():
    class Fails(Redness):
        def run(self, batch):
            return super().run(batch) * np.float32(3) if batch.max() > 0.9 else super().run(batch)

    predictor = Predictor(Fails())
    predictor.predict(np.full((32, 32, 3), 100, np.uint8))
    with pytest.raises(ModelError, match=r"the model gives values from 3 to 3; expected probabilities in \[0, 1\]"):
        predictor.predict(np.full((32, 32, 3), 255, np.uint8))


def test_rounding_is_no_fault():
    check_probabilities(np.full((1, 4, 4, 1), 1.0004, np.float32), 1, 4, "model")
    with pytest.raises(ModelError, match=r"gives \(1, 4, 4, 1\) for a batch; expected \(2, 4, 4, 1\)"):
        check_probabilities(np.zeros((1, 4, 4, 1), np.float32), 2, 4, "model")
