"""What a model gives, looked at when it is opened and at each batch."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from polypseg.errors import ModelError
from polypseg.predict.engines.checking import check_probabilities, refuse_external_weights
from polypseg.predict.engines.model_file import write_model_file
from polypseg.predict.engines.opening import open_engine
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
