"""The files of docs/how-to/cluster.md: Ray and Docker take them."""

import json
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/how-to/cluster.md").read_text()


def block(kind):
    [found] = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)
    return found


def test_the_cluster_is_one_that_ray_takes():
    yaml = pytest.importorskip("yaml")
    jsonschema = pytest.importorskip("jsonschema")
    ray = pytest.importorskip("ray", reason='pip install "polypseg[cluster]"')
    config = yaml.safe_load(block("yaml"))
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    assert config["head_node_type"] in config["available_node_types"]
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}
    assert config["docker"]["image"] in PAGE


def test_the_dockerfile_installs_the_extra():
    lines = block("dockerfile").splitlines()
    assert lines[0].startswith("FROM rayproject/ray:")
    assert lines[1] == 'RUN pip install --no-cache-dir "polypseg[cluster]"'
