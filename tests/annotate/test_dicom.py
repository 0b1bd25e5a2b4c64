"""DICOM in, DICOM SEG out and back, and DICOM without what tells the patient."""

import csv
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image as PillowImage

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from polypseg.annotate.anonymise import anonymise  # noqa: E402
from polypseg.annotate.dicom_frames import frames, open_dicom  # noqa: E402
from polypseg.annotate.dicom_segmentation import Maker, segmentation, write_segmentations  # noqa: E402
from polypseg.annotate.dicom_study import extract_frames, read_table  # noqa: E402
from polypseg.cli import app  # noqa: E402
from polypseg.errors import DataError  # noqa: E402
from polypseg.preprocess import AUTOMATIC, MaskRule, read_image, read_mask  # noqa: E402

from .dicom_making import TELLING, dataset_of, encoded, noise, save  # noqa: E402
from .frames import octagon, picture, write  # noqa: E402

MAKER = Maker("AUTOMATIC", "polyp-lite", "0.0")
pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:(pydicom|highdicom).*")


def two_polyps():
    mask = np.zeros((48, 64), bool)
    mask[5:15, 6:20], mask[30:40, 40:60] = True, True
    return mask


def verified(path):
    """The errors that dciodvfy of dicom3tools finds; skipped where it is not installed."""
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    done = subprocess.run([tool, "-new", str(path)], capture_output=True, text=True)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("is_video", [False, True])
def test_uncompressed_frames_are_read_exactly(tmp_path, is_video):
    expected = noise(3 if is_video else 1)
    path = save(dataset_of(expected, is_video), tmp_path / "a.dcm")
    np.testing.assert_array_equal(np.stack(list(frames(open_dicom(path), path))), expected)


@pytest.mark.parametrize(("syntax", "error"), [(RLELossless, 0), (JPEG2000Lossless, 0), (JPEGBaseline8Bit, 4)])
def test_compressed_frames_are_read(tmp_path, syntax, error):
    expected = noise(2)
    path = save(encoded(dataset_of(expected, True), expected, syntax), tmp_path / "a.dcm")
    found = np.stack(list(frames(open_dicom(path), path)))
    assert np.abs(found.astype(int) - expected).mean() <= error


def stream_of(tmp_path, images):
    """A data set whose pixels are an H.264 stream."""
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "stream.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = images.shape[2], images.shape[1], "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    made = dataset_of(images, True)
    made.PixelData = encapsulate([(tmp_path / "stream.mp4").read_bytes()])
    made["PixelData"].VR = "OB"
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    return made


def test_a_video_stream_is_read(tmp_path):
    expected = noise(5)
    path = save(stream_of(tmp_path, expected), tmp_path / "a.dcm")
    found = np.stack(list(frames(open_dicom(path), path)))
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 6


@pytest.mark.parametrize(("photometric", "expected"), [("MONOCHROME2", (10, 10, 10)), ("MONOCHROME1", (245, 245, 245))])
def test_grey_becomes_rgb(tmp_path, photometric, expected):
    made = dataset_of(noise(1))
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, photometric
    made.PixelData = bytes([10]) * (48 * 64)
    path = save(made, tmp_path / "a.dcm")
    assert tuple(next(frames(open_dicom(path), path))[0, 0]) == expected


def test_what_cannot_be_read_is_one_line(tmp_path):
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    with pytest.raises(DataError, match=r"bad\.dcm: not a DICOM file, or a damaged one|without pixels"):
        list(frames(open_dicom(bad), bad))
    deep = dataset_of(noise(1))
    deep.BitsAllocated = 16
    with pytest.raises(DataError, match="16 bits a channel; expected 8"):
        list(frames(deep, bad))
    short = dataset_of(noise(1))
    short.PixelData = short.PixelData[:100]
    with pytest.raises(DataError, match="frame 1 cannot be decoded"):
        list(frames(open_dicom(save(short, tmp_path / "short.dcm")), bad))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no DICOM file"):
        extract_frames(tmp_path / "empty", tmp_path / "out", AUTOMATIC)


@pytest.fixture
def study(tmp_path):
    """An image and a video of three frames."""
    folder = tmp_path / "study"
    folder.mkdir()
    save(dataset_of(noise(1)), folder / "image.dcm")
    save(dataset_of(noise(3, seed=1), is_video=True), folder / "video")
    return folder


def test_a_study_goes_out_and_its_segmentations_come_back(tmp_path, study):
    extract_frames(study, tmp_path / "frames", AUTOMATIC)
    names = sorted(read_table(tmp_path / "frames" / "dicom.csv"))
    assert names == ["0001", "0002_000001", "0002_000002", "0002_000003"]
    np.testing.assert_array_equal(read_image(tmp_path / "frames" / "images" / "0002_000002.png"), noise(3, seed=1)[1])
    masks = tmp_path / "masks"
    masks.mkdir()
    drawn = {"0001": two_polyps(), "0002_000002": two_polyps()[::-1], "0002_000003": np.zeros((48, 64), bool)}
    for name, mask in drawn.items():
        PillowImage.fromarray(mask).save(masks / f"{name}.png")
    counts = write_segmentations(masks, tmp_path / "frames" / "dicom.csv", study / "seg", MAKER, AUTOMATIC)
    assert counts == (2, 1)
    done = extract_frames(study, tmp_path / "back", AUTOMATIC)
    assert (done.num_frames, done.num_masks) == (4, 2)
    back = {path.stem: read_mask(path) for path in (tmp_path / "back" / "masks").iterdir()}
    assert sorted(back) == ["0001", "0002_000002"]
    for name, mask in back.items():
        np.testing.assert_array_equal(mask, drawn[name])


def test_a_segmentation_refers_to_its_frame_and_keeps_polyps_apart(tmp_path, study):
    source = open_dicom(study / "video")
    made = segmentation(source, 2, two_polyps(), MAKER, {}, 1)
    made.save_as(tmp_path / "seg.dcm")
    back = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert [back.get_segment_description(number).segment_label for number in (1, 2)] == ["polyp 1", "polyp 2"]
    assert [int(frame.sum()) for frame in back.pixel_array] == [10 * 14, 10 * 20]
    assert (back.PatientID, back.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    for groups in back.PerFrameFunctionalGroupsSequence:
        (image,) = groups.DerivationImageSequence[0].SourceImageSequence
        assert (image.ReferencedSOPInstanceUID, image.ReferencedFrameNumber) == (source.SOPInstanceUID, 2)
    told = {str(element.value) for element in back.iterall() if element.keyword == "ReferencedSOPClassUID"}
    assert told == {str(source.SOPClassUID)}
    assert back.get_segment_description(1).segmented_property_type.value == "68496003"


@pytest.mark.parametrize("origin", ["AUTOMATIC", "MANUAL"])
def test_a_segmentation_is_valid_dicom(tmp_path, study, origin):
    for name, number in (("image.dcm", 1), ("video", 3)):
        made = segmentation(open_dicom(study / name), number, two_polyps(), MAKER._replace(origin=origin), {}, 1)
        made.save_as(tmp_path / "seg.dcm")
        assert verified(tmp_path / "seg.dcm") == []


@pytest.mark.parametrize(
    ("number", "mask", "reason"),
    [
        (1, np.ones((4, 4), bool), "the mask is 4x4, the frame 48x64"),
        (4, two_polyps(), "has 3 frames, and no number 4"),
    ],
)
def test_a_mask_that_fits_no_frame_is_refused(study, number, mask, reason):
    with pytest.raises(DataError, match=reason):
        segmentation(open_dicom(study / "video"), number, mask, MAKER, {}, 1)


def test_a_mask_of_no_frame_and_a_damaged_table_are_refused(tmp_path, study):
    extract_frames(study, tmp_path / "frames", AUTOMATIC)
    masks = tmp_path / "masks"
    masks.mkdir()
    PillowImage.fromarray(two_polyps()).save(masks / "other.png")
    table = tmp_path / "frames" / "dicom.csv"
    with pytest.raises(DataError, match=r"knows no frame called other\.png"):
        write_segmentations(masks, table, tmp_path / "seg", MAKER, AUTOMATIC)
    table.write_text("frame,file\n1,2\n")
    with pytest.raises(DataError, match="lacks the columns sop_instance_uid, frame_number"):
        write_segmentations(masks, table, tmp_path / "seg", MAKER, AUTOMATIC)


def test_a_segment_of_another_label_stops_or_is_named(tmp_path, study):
    made = segmentation(open_dicom(study / "image.dcm"), 1, two_polyps(), MAKER, {}, 1)
    for item in made.SegmentSequence:
        item.SegmentLabel = "adenoma" if item.SegmentNumber == 1 else "tool"
    made.save_as(study / "seg.dcm")
    with pytest.raises(
        DataError, match=r"which segments are polyps\? It holds adenoma, tool; say it with --polyp-labels"
    ):
        extract_frames(study, tmp_path / "frames", AUTOMATIC)
    extract_frames(study, tmp_path / "frames", MaskRule(labels=("adenoma",)))
    assert read_mask(tmp_path / "frames" / "masks" / "0001.png").sum() == 10 * 14


def test_nothing_of_the_patient_remains_in_dicom(tmp_path):
    clean = picture()[0]
    frame = write(clean, "DOE JANE 1970", (14, 24), 0.5)
    study = pydicom.uid.generate_uid()
    (tmp_path / "in").mkdir()
    originals = [dataset_of(np.stack([frame] * n), n > 1, study) for n in (1, 3)]
    for number, original in enumerate(originals):
        save(original, tmp_path / "in" / f"{number}.dcm")
    done = anonymise(tmp_path / "in", tmp_path / "out", seed=0)
    assert {row.kind for row in done.rows} == {"dicom"}
    assert {"PatientName", "InstitutionName", "private attributes (1)"} <= set(done.rows[0].removed)
    back = [open_dicom(path) for path in sorted((tmp_path / "out" / "dicom").iterdir())]
    old = {original[key].value for original in originals for key in
           ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")}  # fmt: skip
    for path, dataset in zip(sorted((tmp_path / "out" / "dicom").iterdir()), back, strict=True):
        content = path.read_bytes()
        for secret in (b"SECRET", b"Doe", *(uid.encode() for uid in old)):
            assert secret not in content
        values = {str(element.value) for element in dataset.iterall() if element.keyword != "PixelData"}
        assert values.isdisjoint(TELLING.values())
        assert dataset.PatientIdentityRemoved == "YES"
        for image in frames(dataset, path):
            assert not image[(frame != clean).any(axis=2)].any()
            np.testing.assert_array_equal(image[octagon()], frame[octagon()])
    assert back[0].StudyInstanceUID == back[1].StudyInstanceUID
    assert sorted(int(dataset.get("NumberOfFrames") or 1) for dataset in back) == [1, 3]


def test_anonymous_dicom_is_valid(tmp_path):
    for number in (1, 2):
        save(dataset_of(np.stack([picture()[0]] * number), number > 1), tmp_path / "a.dcm")
        anonymise(tmp_path / "a.dcm", tmp_path / f"out{number}")
        before = set(verified(tmp_path / "a.dcm"))
        assert set(verified(tmp_path / f"out{number}" / "dicom" / "000001.dcm")) <= before


def test_an_anonymous_video_stream_is_a_video(tmp_path):
    images = np.stack([write(picture(seed)[0], "DOE JANE 1970", (14, 24), 0.5) for seed in range(4)])
    save(stream_of(tmp_path, images), tmp_path / "a.dcm")
    (row,) = anonymise(tmp_path / "a.dcm", tmp_path / "out").rows
    assert (row.kind, row.text_left) == ("dicom", 0)
    assert "PatientName" in row.removed
    assert [path.name for path in (tmp_path / "out" / "videos").iterdir()] == ["000001.mp4"]


def test_the_commands(tmp_path, study):
    run = CliRunner()
    result = run.invoke(app, ["data", "dicom-frames", str(study), str(tmp_path / "frames")])
    assert result.exit_code == 0, result.output
    assert "wrote 4 frames" in result.stdout
    masks = tmp_path / "masks"
    masks.mkdir()
    PillowImage.fromarray(two_polyps()).save(masks / "0001.png")
    words = ["data", "dicom-seg", str(masks), str(tmp_path / "frames" / "dicom.csv"), str(tmp_path / "seg")]
    result = run.invoke(app, [*words, "--drawn-by", "manual"])
    assert result.exit_code == 0, result.output
    assert "wrote 1 DICOM SEG file" in result.stdout
    made = highdicom.seg.segread(tmp_path / "seg" / "0001.dcm")
    assert made.get_segment_description(1).algorithm_type.value == "MANUAL"
    with (tmp_path / "frames" / "groups.csv").open() as opened:
        assert [row["group"] for row in csv.DictReader(opened)] == ["file-0001"] + ["file-0002"] * 3
