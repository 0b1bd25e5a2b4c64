import hashlib

import onnx
import pytest

from polypseg.errors import ModelError
from polypseg.predict.engines.model_file import DIGEST_KEY, is_sealed, read_model_file, seal, write_model_file
from polypseg.records.model_facts import ModelFacts, to_metadata
from predict.tiny_model import tiny_graph, write_foreign_model, write_tiny_model


@pytest.fixture
def path(tmp_path):
    return write_tiny_model(tmp_path / "tiny.onnx")


def test_file_is_an_onnx_file_that_ends_with_the_digest_of_all_before(path):
    content = path.read_bytes()
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    # tag, length 83, then key (2 + 15 bytes) and value (2 + 64 bytes): 85 bytes
    assert metadata[DIGEST_KEY] == hashlib.sha256(content[:-85]).hexdigest()
    assert content[-64:].decode() == metadata[DIGEST_KEY]


def test_facts_and_graph_come_back(path):
    content, facts = read_model_file(path)
    assert (facts.name, facts.attention_levels) == ("tiny", (1,))
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    assert model.SerializeToString() == tiny_graph().SerializeToString()


def test_long_texts_are_kept(tmp_path):
    facts = ModelFacts(size=16, terms="ä" * 70_000)
    write_model_file(tmp_path / "long.onnx", b"", facts)
    assert read_model_file(tmp_path / "long.onnx")[1] == facts


def test_writing_leaves_one_file_and_replaces_the_old_one(path):
    write_tiny_model(path, version="2")
    assert [entry.name for entry in path.parent.iterdir()] == ["tiny.onnx"]
    assert read_model_file(path)[1].version == "2"


def test_every_flipped_byte_is_found(path):
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ModelError) as error:
            read_model_file(path)
        assert len(str(error.value).splitlines()) == 1


def test_every_length_but_the_whole_is_refused(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError):
            read_model_file(path)


def test_messages_name_the_fault(path, tmp_path):
    content = path.read_bytes()
    path.write_bytes(content[:40] + bytes([content[40] ^ 255]) + content[41:])
    with pytest.raises(ModelError, match=r"damaged or changed after it was exported: .*polypseg\.digest"):
        read_model_file(path)
    path.write_bytes(content[:-85])
    with pytest.raises(ModelError, match=r"does not end with its polypseg\.digest"):
        read_model_file(path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"the file is empty \(0 bytes\)"):
        read_model_file(path)
    with pytest.raises(ModelError, match="cannot read the model: No such file"):
        read_model_file(tmp_path / "none.onnx")


def test_a_foreign_file_is_told_which_metadata_it_lacks(tmp_path):
    foreign = write_foreign_model(tmp_path / "foreign.onnx", **{"polypseg.size": "16"})
    with pytest.raises(ModelError, match=r"lack polypseg\.normalisation, polypseg\.threshold, polypseg\.target"):
        read_model_file(foreign)


def test_a_file_that_another_program_wrote_anew_is_refused(path):
    model = onnx.load(path)
    model.metadata_props.insert(0, onnx.StringStringEntryProto(key="polypseg.threshold", value="0.1"))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="damaged or changed"):
        read_model_file(path)


def test_only_a_digest_at_the_end_seals():
    facts = ModelFacts(size=16)
    assert is_sealed(seal(b"", facts))
    assert not is_sealed(seal(b"", facts) + b"\0")
    assert not is_sealed(b"")
    assert DIGEST_KEY not in to_metadata(facts)
