import pytest

from serve.models import write_red_model
from serve.running import serving


@pytest.fixture(scope="session")
def red_model(tmp_path_factory):
    """The file of a model whose probability is the image's red."""
    return write_red_model(tmp_path_factory.mktemp("model") / "red.onnx")


@pytest.fixture(scope="session")
def client(red_model):
    """A client of a server with that model."""
    with serving(red_model) as running:
        yield running
