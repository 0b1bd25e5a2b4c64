"""An exported model of a few bytes whose answer can be followed by hand: the probability of a pixel is its red,
the coefficient of its one gate the green of every second pixel."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as PillowImage

from polypseg.predict.engines.model_file import write_model_file
from polypseg.records.model_facts import ModelFacts

SIZE = 16


def tiny_graph(size=SIZE):
    def constant(name, values):
        return numpy_helper.from_array(np.array(values, np.int64), name)

    def part(output, begin, end, step):
        names = [f"{output}_{which}" for which in ("begin", "end", "step")]
        constants = [constant(name, values) for name, values in zip(names, (begin, end, step), strict=True)]
        return helper.make_node("Slice", ["image", names[0], names[1], f"{output}_axes", names[2]], [output]), [
            *constants,
            constant(f"{output}_axes", [1, 2, 3]),
        ]

    red, reds = part("probability", [0, 0, 0], [size, size, 1], [1, 1, 1])
    green, greens = part("attention_1", [0, 0, 1], [size, size, 2], [2, 2, 1])
    shapes = {"image": ["N", size, size, 3], "probability": ["N", size, size, 1]}
    shapes["attention_1"] = ["N", size // 2, size // 2, 1]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(
        [red, green], "tiny", [values["image"]], [values["probability"], values["attention_1"]], reds + greens
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_tiny_model(path, **facts):
    """Writes it, and gives its path."""
    known = ModelFacts(size=SIZE, name="tiny", attention_levels=(1,), num_parameters=0, **facts)
    write_model_file(path, tiny_graph().SerializeToString(), known)
    return path


def write_foreign_model(path, **metadata):
    """The same graph as another program would write it."""
    model = tiny_graph()
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, path)
    return path


def write_picture(path, red, height=20, width=30, box=None):
    """An image of one red level, or one that is red in `box` (top, left, bottom, right) alone; gives its path."""
    image = np.zeros((height, width, 3), np.uint8)
    top, left, bottom, right = box or (0, 0, height, width)
    image[top:bottom, left:right, 0] = red
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(image).save(path)
    return path
