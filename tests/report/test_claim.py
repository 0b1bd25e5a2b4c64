"""The CLAIM draft: its items, and what is answered from a record, in part, or not at all."""

import shutil
from dataclasses import replace

import pytest

from polypseg.config import load_config
from polypseg.records.threshold import Threshold
from polypseg.report.claim import PART, RECORDED, answer, claim_checklist
from polypseg.report.claim_items import ITEMS
from polypseg.report.documents import UNKNOWN
from polypseg.report.report_input import read_report_input
from report.conftest import score_maps
from report.test_card import cells, tables

ONLY_AUTHORS = {3, 4, 6, 11, 13, 15, 16, 17, 18, 31, 34, 44}
"""What no record of a run can tell: aims, de-identification, annotators, registration, funding, …"""


def answers(record):
    return {item.number: answer(item, record) for item in ITEMS}


def test_items_are_the_44_of_2024_with_the_40_of_2020_that_are_left():
    assert [item.number for item in ITEMS] == list(range(1, 45))
    old = [item.number_2020 for item in ITEMS if item.number_2020 is not None]
    # 2020 has 42; definitions of data elements (11) and annotation tools (17) have no item of their own in 2024
    assert sorted(old) == sorted(set(range(1, 43)) - {11, 17})


def test_answers_that_only_authors_know_are_never_filled_in(run_record, maps_record):
    for record in (run_record, maps_record):
        given = answers(record)
        assert all(given[number] == (UNKNOWN, "") for number in ONLY_AUTHORS)


def test_answers_of_a_run(run_record):
    given = answers(run_record)
    assert given[9].status == given[19].status == given[26].status == RECORDED
    assert "squeezed to 256 x 256 px" in given[9].text
    assert "ratio: made by hand, seed 3: train 1, validation 1, test 4 images" in given[19].text
    assert given[20].text.startswith("Group: no group (sequence or patient) is in two splits")
    assert "not checked (near-duplicates were not looked for" in given[20].text
    assert given[24].text == "Random (He normal), seed 0; no pre-trained weights."
    assert given[26].text == (
        "Checkpoint: lowest val_loss on the validation split (epoch 2: 0.4000); threshold: 0.5, default; times the "
        "test split was scored: 1."
    )
    assert given[27] == (RECORDED, "None: one model, one pass.")
    assert given[32].text.startswith("Test split of the same data: mean Dice 0.556")
    assert given[33].status == UNKNOWN
    assert given[36].text == "Polyp area of the scored images: large (> 20 %): 3."
    assert given[39].text.startswith("The lowest Dice: missed (0.000)")


def with_settings(record, *settings):
    """The record as if its run had been trained with these settings."""
    return replace(record, run=replace(record.run, config=load_config(overrides=list(settings))))


def with_provenance(record, **told):
    """The record as if its evaluation had told this."""
    provenance = record.summary.provenance.model_copy(update=told)
    return replace(record, summary=record.summary.model_copy(update={"provenance": provenance}))


PRETRAINED = ("model.encoder=efficientnet-lite0", "model.encoder_weights=imagenet", "model.filters=32")


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        (PRETRAINED, PART, "Encoder efficientnet-lite0: pre-trained weights (imagenet); all else random, seed 0."),
        (
            PRETRAINED[:1],
            RECORDED,
            "Random, seed 0; no pre-trained weights, the encoder (efficientnet-lite0) included.",
        ),
    ],
)
def test_start_of_an_encoder_is_never_told_as_random(run_record, settings, status, words):
    assert answers(with_settings(run_record, *settings))[24] == (status, words)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"tta": "flips"}, "One model, mirror images of each frame averaged (test-time augmentation flips)."),
        ({"tta": "doubt"}, "One model, one pass; frames in doubt are compared with their mirror images"),
        ({"engine": "ensemble"}, "Several models (an ensemble), one pass each."),
        ({"engine": "ensemble", "tta": "flips"}, "Several models (an ensemble), mirror images of each frame averaged"),
    ],
)
def test_ensembles_and_averaged_passes_are_told(run_record, source, words):
    record = with_provenance(run_record, **source)
    assert answers(record)[27].status == RECORDED
    assert answers(record)[27].text.startswith(words)


def test_training_is_told_as_it_was_set(run_record):
    settings = (
        *PRETRAINED,
        "loss.dice_weight=0.75",
        "data.augment=strong",
        "data.polyp_removal=0.15",
        "train.optimizer=adamw",
        "train.weight_decay=0.01",
        "train.encoder_rate=0.33",
        "train.schedule=one_cycle",
        "train.clip_norm=5.0",
        "train.ema_momentum=0.995",
        "train.monitor=val_dice",
        "train.start_from=/home/me/runs/before",
        "train.teacher=/home/me/runs/five",
        "train.teacher_weight=0.25",
    )
    given = answers(with_settings(run_record, *settings))
    assert given[25].text.startswith(
        "binary cross-entropy + 0.75 x (1 - Dice); AdamW, weight decay 0.01, the encoder at 0.33 of the rate, "
        "learning rate 0.001, up to it in the first 10 % of the steps, then down to 0 by half a cosine; "
        "from the weights of before; taught by five, which has 25 % of the say; gradients of a norm of at "
        "most 5; moving average of the weights, momentum 0.995; stops after 12 epochs without a higher "
        "validation Dice; batches of 8; seed 0; augmentation: strong, 15 % shown without their polyp; "
    )
    assert "Adam," not in given[25].text
    assert given[22].text.startswith(
        "attention_unet: filters 32, depth 4, encoder efficientnet-lite0, encoder weights imagenet, gates normalised; "
    )


def test_every_share_of_changed_frames_is_told(run_record):
    shares = {"copy_paste": 0.15, "jpeg": 0.3, "colour_transfer": 0.4, "elastic": 0.25, "close_ups": 0.2}
    given = answers(with_settings(run_record, *(f"data.{name}={share}" for name, share in shares.items())))
    assert (
        "15 % given another image's polyp, 30 % compressed again, 40 % in another image's colours, 25 % bent, "
        "20 % shown as a close-up; "
    ) in given[25].text


def test_reference_training_is_told_without_what_it_does_without(run_record):
    given = answers(run_record)
    assert given[25].text.startswith(
        "binary cross-entropy + 0.5 x (1 - Dice); Adam, learning rate 0.001, x 0.5 after 5 epochs without a lower "
        "validation loss; stops after 12 epochs without a lower validation loss; batches of 8; seed 0; "
        "augmentation: standard; "
    )
    assert given[22].text.startswith("attention_unet: filters 24, depth 4, gates normalised; ")


def test_checkpoint_chosen_by_dice_names_the_epoch_of_the_highest(run_record):
    by_dice = with_settings(run_record, "train.monitor=val_dice")
    history = [{**row, "val_dice": dice} for row, dice in zip(by_dice.run.history, (0.5, 0.6, 0.8), strict=True)]
    by_dice = replace(by_dice, run=replace(by_dice.run, history=history))
    assert "(epoch 3: 0.8000)" in answers(by_dice)[26].text  # the lowest validation loss is that of epoch 2


def test_mean_of_weights_is_of_no_epoch(run_record):
    words = "the mean of the weights of runs/second and runs/third"
    averaged = with_provenance(run_record, checkpoint_chosen_by=words)
    assert words in answers(averaged)[26].text
    assert "(epoch" not in answers(averaged)[26].text


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"num_frames": 80}, "largest mean Dice, 80 images"),
        ({"num_frames": 80, "perturbations": ("as it is",)}, "largest mean Dice, 80 images"),
        ({"num_frames": 160, "perturbations": ("as it is", "x")}, "160 frames, each image in 2 perturbations"),
    ],
)
def test_what_chose_the_threshold_is_told(run_record, chosen, words):
    source = "chosen on the validation split (threshold.json)"
    threshold = Threshold(threshold=0.4, chosen_by="largest mean Dice", **chosen)
    run = replace(run_record.run, threshold=threshold)
    tuned = replace(with_provenance(run_record, threshold=0.4, threshold_source=source), run=run)
    assert words in answers(tuned)[26].text


def test_answers_of_maps_leave_the_model_open(maps_record):
    given = answers(maps_record)
    assert {number for number in range(19, 28) if given[number].status == UNKNOWN} == {19, 20, 22, 24, 25, 26, 27}
    assert given[7].text.endswith("Training data: unknown.")
    assert given[23] == (PART, f"Scored with polypseg {maps_record.source.polypseg}.")
    assert (
        given[2].text == f"4 images scored; mean Dice {mean(maps_record, 'dice')}, mean IoU {mean(maps_record, 'iou')}."
    )


def mean(record, metric):
    figures = record.summary.metrics[metric]
    return f"{figures.mean:.3f} (95 % interval {figures.low:.3f} to {figures.high:.3f})"


def test_answer_on_external_data_comes_from_the_other_evaluations(own_run):
    other = shutil.copytree(own_run / "evaluation" / "test", own_run / "evaluation" / "clinicdb")
    for path in (other / "summary.json", other / "evaluation.json"):
        path.write_text(path.read_text().replace('"split": "test"', '"split": "external"'))
    given = answers(read_report_input(own_run))
    assert given[33].status == PART
    assert given[33].text.startswith("clinicdb: mean Dice 0.556")
    external = answers(read_report_input(other))
    assert external[33].text.startswith("data: mean Dice 0.556")
    assert external[32].text.startswith("test: mean Dice 0.556")


def test_answers_of_polyp_free_images_alone(tmp_path):
    score_maps(tmp_path, names=["clean"])
    given = answers(read_report_input(tmp_path / "evaluation"))
    assert given[2].text == "1 image scored; none of them with a polyp."
    assert given[30].status == given[36].status == given[37].status == given[39].status == UNKNOWN
    assert "Frames with any false-positive pixel: 100.0 %" in given[38].text


@pytest.mark.parametrize("record", ["run_record", "maps_record"])
def test_checklist_counts_its_answers_and_marks_what_is_open(record, request):
    record = request.getfixturevalue(record)
    text = claim_checklist(record)
    rows = [row for table in tables(text) for row in table[2:]]
    assert [row[0] for row in rows] == [str(number) for number in range(1, 45)]
    assert {len(row) for row in rows} == {5}
    status = [row[3] for row in rows]
    assert set(status) == {"recorded", "**in part**", "**unknown**"}
    counts = [status.count(word) for word in ("recorded", "**in part**", "**unknown**")]
    assert "{} items are recorded, {} in part, {} unknown.".format(*counts) in text
    assert all("*For the authors:" in row[4] for row in rows if row[3] != "recorded")
    assert cells(text, "13")[1] == "new"
    assert cells(text, "34")[1] == "40"
    assert "e200029" in text
    assert "e240300" in text
