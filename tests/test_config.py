import errno
import os
from pathlib import Path
from unittest import mock

import pytest

from polypseg.config import Config, load_config, load_run_config, removed_settings
from polypseg.config.loading import RenamedSettingWarning
from polypseg.errors import ConfigError, RunError


def test_file_and_overrides_are_diffs_from_the_defaults(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[model]\nfilters = 32\n[train]\nepochs = 7\n")
    config = load_config(path, ["train.epochs=9", "data.augment=flip", "train.deterministic=true"])
    assert config.model.filters == 32
    assert config.train.epochs == 9
    assert config.data.augment == "flip"
    assert config.train.deterministic is True
    assert config.loss == Config().loss


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.filter=3", r"unknown key in \[model\] 'filter'; did you mean 'filters'"),
        ("modell.filters=3", "unknown table 'modell'; did you mean 'model'"),
        ("train.epochs=0", r"train\.epochs: .*greater than or equal to 1 \(found 0\)"),
        ("train.epochs=many", r"train\.epochs: .*\(found 'many'\)"),
        ("data.augment=strongest", r"data\.augment: .*'none', 'flip', 'standard' or 'strong' \(found 'strongest'\)"),
        ("data.size=100", r"data\.size 100 is not divisible by 2\*\*model\.depth = 16; take 96 or 112"),
        ("epochs", r"expected table\.key=value"),
        ("a.b.c=1", r"expected table\.key=value"),
        ("train.learning_rate=nan", r"train\.learning_rate"),
    ],
)
def test_wrong_overrides_say_what_is_wrong(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(overrides=[override])


def test_shares_that_leave_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"validation 0\.5 \+ test 0\.5 leave nothing to train on"):
        load_config(overrides=["split.validation=0.5", "split.test=0.5"])


def test_one_fold_is_none():
    with pytest.raises(ConfigError, match=r"split\.folds 1: expected 0"):
        load_config(overrides=["split.folds=1"])


def test_files_that_are_no_config(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the config"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(ConfigError, match="not a TOML file"):
        load_config(tmp_path / "bad.toml")


def test_included_config_is_found_by_its_name_from_anywhere(tmp_path, monkeypatch):
    file = Path(__file__).parents[1] / "configs" / "kvasir-polyp-lite.toml"
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("kvasir-polyp-lite")) == load_config(file)
    assert load_config(Path("configs/kvasir-polyp-lite.toml")) == load_config(file)  # as a clone's documents write it
    (tmp_path / "demo.toml").write_text("[train]\nepochs = 3\n")
    assert load_config(Path("demo.toml")).train.epochs == 3  # a file that is there goes first
    with pytest.raises(ConfigError, match="unknown config 'kvasir-polyplite'; did you mean 'kvasir-polyp-lite'"):
        load_config(Path("kvasir-polyplite"))
    with pytest.raises(ConfigError, match=r"other/demo\.toml: .*included are: demo, finetune, kvasir-"):
        load_config(Path("other/demo.toml"))


def test_config_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Config().model.filters = 3


def test_fault_is_laid_to_the_file_or_to_the_overrides(tmp_path):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text("[train]\nepochs = 3\n")
    bad.write_text("[train]\nepochs = 0\n")
    with pytest.raises(ConfigError, match=r"good.toml with --set: model.filters: .*\(found 0\)"):
        load_config(good, ["model.filters=0"])
    with pytest.raises(ConfigError, match=r"bad.toml: train.epochs"):
        load_config(bad, ["model.filters=2"])
    assert load_config(bad, ["train.epochs=2"]).train.epochs == 2  # an override may mend the file


@pytest.mark.parametrize(
    ("text", "recorded", "new"),
    [
        ("", "plain", "normalised"),
        ("[model]\nfilters = 3", "plain", "normalised"),
        ('[model]\ngates = "normalised"', "normalised", "normalised"),
        ('[model]\ngates = "plain"', "plain", "plain"),
    ],
)
def test_run_recorded_before_a_setting_existed_keeps_what_it_had(text, recorded, new, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert load_run_config(path).model.gates == recorded
    assert load_config(path).model.gates == new


EARLIER_NAMES = "[data]\nnegatives = 0.25\n[train]\naverage = 0.75\n[sources.clean]\nnegatives = true\n"


def test_run_with_earlier_names_opens_without_a_word(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(EARLIER_NAMES)
    config = load_run_config(path)
    assert (config.data.polyp_removal, config.train.ema_momentum) == (0.25, 0.75)
    assert config.sources["clean"].negatives  # this name stays


def test_earlier_names_are_accepted_with_a_note(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(EARLIER_NAMES)
    with pytest.warns(RenamedSettingWarning) as told:
        config = load_config(path)
    assert (config.data.polyp_removal, config.train.ema_momentum) == (0.25, 0.75)
    assert [str(each.message) for each in told] == [
        f"{path}: data.negatives is now data.polyp_removal; polypseg 0.3 will not accept the earlier name",
        f"{path}: train.average is now train.ema_momentum; polypseg 0.3 will not accept the earlier name",
    ]
    with pytest.warns(RenamedSettingWarning, match="--set: train.average is now train.ema_momentum"):
        assert load_config(overrides=["train.average=0.5"]).train.ema_momentum == 0.5


def test_override_by_the_new_name_changes_a_file_with_the_earlier_one(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[train]\naverage = 0.75\n")
    with pytest.warns(RenamedSettingWarning):
        assert load_config(path, ["train.ema_momentum=0.5"]).train.ema_momentum == 0.5


def test_both_names_of_one_setting_are_refused(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[train]\naverage = 0.75\nema_momentum = 0.5\n")
    with pytest.raises(ConfigError, match=r"train\.average is an earlier name of train\.ema_momentum; keep one"):
        load_config(path)


def test_run_with_removed_settings_opens_and_tells_what_it_cannot_go_on_with(tmp_path):
    path = tmp_path / "config.toml"
    off = "[split]\nlooks = 0\n[data]\nmix_up = 0.0\n[loss]\nname = 'bce_dice'\ngamma = 0.75\nwindow = 31\n"
    path.write_text(off)
    assert load_run_config(path).loss.name == "bce_dice"
    assert removed_settings(path) == []
    path.write_text(off.replace("looks = 0", "looks = 40").replace("0.0", "0.3").replace("bce_dice", "lovasz"))
    assert load_run_config(path).loss.name == "lovasz"
    assert removed_settings(path) == ["split.looks 40", "data.mix_up 0.3", "loss.name lovasz"]
    path.write_text("loss = 3\nsplit = []\n")  # no tables: nothing was removed, and the config itself is refused
    assert removed_settings(path) == []
    with pytest.raises(RunError, match=r"split: expected a table \[split\] \(found \[\]\); put it back from a copy"):
        load_run_config(path)


@pytest.mark.parametrize("read", [load_run_config, removed_settings])
@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_run_config_that_cannot_be_read_is_a_fault_of_the_run_and_not_of_the_call(read, number, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("")
    reason = os.strerror(number)
    failing = mock.patch.object(Path, "read_text", side_effect=OSError(number, reason))
    with failing, pytest.raises(RunError, match=f"config.toml: cannot read.*{reason}; put it back") as told:
        read(path)
    assert told.value.exit_code == 1  # a config that the user names is a part of the call: 2
    with failing, pytest.raises(ConfigError):
        load_config(path)


DAMAGED = ["[model", "[model]\nfilters = 'many'", "[loss]\nnone = 1", "\x00", "a = " + "9" * 5000]


@pytest.mark.parametrize("text", DAMAGED)
def test_damaged_run_config_is_a_fault_of_the_run(text, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(RunError, match=r"config\.toml: .*; put it back from a copy") as told:
        load_run_config(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("override", ["split.looks=40", "data.mix_up=0.3", "loss.window=31", "loss.name=lovasz"])
def test_removed_settings_of_a_config_are_refused(override):
    with pytest.raises(ConfigError, match=f"{override.partition('=')[0]}.*: removed in polypseg 0.2"):
        load_config(overrides=[override])
