"""Several folders of data as one: names, rules, weights, and what must not pass in silence."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from polypseg.config import DataConfig, SourceConfig, SplitConfig, config_from, load_config
from polypseg.data.epochs import BatchPlan, drawn
from polypseg.data.samples import Sample
from polypseg.data.source_splits import assign_sources
from polypseg.data.sources import draws, find_source_samples, own_name, source_names, with_folders
from polypseg.data.splits import make_split
from polypseg.data.synthetic import make_synthetic
from polypseg.errors import ConfigError, DataError, PairingError, SplitError, UsageError
from polypseg.records.split import Split, load_split
from polypseg.train.samples import source_counts


def folder_of(path, count, seed, masks=True):
    make_synthetic(path, count, seed=seed, side_range=(40, 48))
    if not masks:
        for mask in (path / "masks").iterdir():
            mask.unlink()
        (path / "masks").rmdir()
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("sources")
    return {
        "north": folder_of(base / "north", 10, 1),
        "south": folder_of(base / "south", 6, 2),
        "empty": folder_of(base / "empty", 8, 3, masks=False),
    }


def config_of(folders, **tables):
    base = config_from({"split": {"near_duplicate_bits": -1}, **tables})
    return with_folders(base, [folders["north"], folders["south"]], [folders["empty"]])


def samples_of(*counts, groups=None):
    """Samples of sources a, b, …, so many each."""
    found = []
    for letter, count in zip("abcdef", counts, strict=False):
        for index in range(count):
            name = f"{letter}_{index:03d}"
            group = (groups or {}).get(name)
            found.append(Sample(name, Path(f"{name}.png"), None, group, source=letter))
    return found


def alone(samples):
    return [[index] for index in range(len(samples))]


class TestFolders:
    def test_samples_keep_their_source_and_unique_names(self, folders):
        samples, faults = find_source_samples(config_of(folders).sources)
        assert faults == []
        assert len(samples) == 24
        assert {sample.source for sample in samples} == {"north", "south", "empty"}
        assert all(sample.name == f"{sample.source}_{own_name(sample)}" for sample in samples)
        assert all((sample.mask_path is None) == (sample.source == "empty") for sample in samples)

    def test_one_folder_stays_without_sources(self, folders):
        assert with_folders(load_config(), [folders["north"]]).sources == {}

    def test_settings_by_name_are_kept_and_get_their_folder(self, folders):
        config = config_of(folders, sources={"north": {"weight": 0.5, "split": "train"}})
        north = config.sources["north"]
        assert (north.weight, north.split, north.path) == (0.5, "train", str(folders["north"].resolve()))
        assert config.sources["empty"].negatives

    def test_set_reaches_a_source(self):
        config = load_config(overrides=["sources.north.weight=0.25", "sources.north.path=data/north"])
        assert config.sources["north"].weight == 0.25
        with pytest.raises(ConfigError, match=r"unknown key in \[sources\.north\] 'wait'.*weight"):
            load_config(overrides=["sources.north.wait=1"])

    def test_equal_names_take_the_folder_before_them(self):
        assert source_names([Path("/a/x/images"), Path("/a/y/images")]) == ["x_images", "y_images"]
        with pytest.raises(UsageError, match="two folders of data are called x_images; rename one"):
            source_names([Path("/a/x/images"), Path("/b/x/images")])

    def test_folder_named_twice_is_refused(self, folders):
        with pytest.raises(UsageError, match="named twice"):
            with_folders(load_config(), [folders["north"], folders["north"] / "."])

    def test_source_without_folder_is_refused(self, folders):
        config = config_from({"sources": {"west": {"weight": 2.0}}})
        with pytest.raises(UsageError, match="'west', and no folder of that name was named"):
            with_folders(config, [folders["north"]])

    def test_source_without_masks_must_be_declared(self, folders):
        config = with_folders(load_config(), [folders["north"], folders["empty"]])
        with pytest.raises(PairingError, match=r"no folder of masks beside them.*--negatives"):
            find_source_samples(config.sources)

    def test_negatives_with_masks_are_refused(self, folders):
        config = with_folders(load_config(), [folders["north"]], [folders["south"]])
        with pytest.raises(PairingError, match="declared to show no polyp, and it holds masks"):
            find_source_samples(config.sources)

    def test_group_in_two_sources_is_refused(self, tmp_path):
        base = [folder_of(tmp_path / name, 3, seed) for seed, name in enumerate(("one", "two"))]
        for folder in base:
            stems = sorted(path.stem for path in (folder / "images").iterdir())
            rows = "".join(f"{stem},patient{index}\n" for index, stem in enumerate(stems))
            (folder / "sequences.csv").write_text("frame,group\n" + rows)
        with pytest.raises(DataError, match="3 groups have the same name in one and two"):
            find_source_samples(with_folders(load_config(), base).sources)

    def test_running_numbers_are_each_sources_own(self, folders):
        samples, _ = find_source_samples(config_of(folders).sources)
        assert {s.group for s in samples if s.group} >= {"north_0001", "south_0001"}  # both tables count from 0001

    def test_centres_of_the_table_are_read(self, tmp_path):
        folder = folder_of(tmp_path / "set", 2, 5)
        stems = sorted(path.stem for path in (folder / "images").iterdir())
        (folder / "sequences.csv").write_text(f"frame,group,centre\n{stems[0]},a,paris\n{stems[1]},b,oslo\n")
        samples, _ = find_source_samples({"set": SourceConfig(path=str(folder))})
        assert [sample.centre for sample in samples] == ["paris", "oslo"]


class TestSplit:
    def test_each_source_follows_its_rule(self):
        # a: 10 % of 40 validate, 20 % test; b trains as a whole; c: validation 0.5 of 10, no test.
        samples = samples_of(40, 20, 10)
        sources = {
            "a": SourceConfig(split="ratio", validation=0.1, test=0.2),
            "b": SourceConfig(split="train"),
            "c": SourceConfig(split="ratio", validation=0.5, test=0.0),
        }
        assigned, words = assign_sources(samples, alone(samples), sources, SplitConfig())
        of = {name: [side for s, side in zip(samples, assigned, strict=True) if s.source == name] for name in "abc"}
        assert [of["a"].count(side) for side in ("train", "validation", "test")] == [28, 4, 8]
        assert set(of["b"]) == {"train"}
        assert [of["c"].count(side) for side in ("train", "validation", "test")] == [5, 5, 0]
        assert "b: all of it trains" in words

    def test_units_that_span_sources_stay_on_one_side(self):
        samples = samples_of(20, 20)
        units = [[index, index + 20] for index in range(20)]  # each of a looks like one of b
        for seed in range(10):
            sources = dict.fromkeys("ab", SourceConfig(split="ratio", validation=0.3, test=0.2))
            assigned, _ = assign_sources(samples, units, sources, SplitConfig(seed=seed))
            assert assigned[:20] == assigned[20:]
            assert set(assigned) == {"train", "validation", "test"}

    def test_what_trains_as_a_whole_pulls_its_likes_into_training(self):
        samples = samples_of(10, 10)
        units = [[0, 10], *([index] for index in range(20) if index not in (0, 10))]
        sources = {"a": SourceConfig(split="ratio", validation=0.5, test=0.4), "b": SourceConfig(split="train")}
        for seed in range(10):
            assigned, _ = assign_sources(samples, [list(unit) for unit in units], sources, SplitConfig(seed=seed))
            assert assigned[0] == assigned[10] == "train"

    def test_official_rule_of_another_set_is_refused(self):
        samples = samples_of(5)
        with pytest.raises(SplitError, match=r"sources\.a\.split official: these 5 samples are not Kvasir-SEG's"):
            assign_sources(samples, alone(samples), {"a": SourceConfig(split="official")}, SplitConfig())

    def test_nothing_left_for_validation_is_refused(self):
        samples = samples_of(5)
        with pytest.raises(SplitError, match="leave nothing for validation"):
            assign_sources(samples, alone(samples), {"a": SourceConfig(split="train")}, SplitConfig())

    def test_manifest_keeps_the_sources(self, folders, tmp_path):
        config = config_of(folders)
        samples, _ = find_source_samples(config.sources)
        split = make_split(samples, config.split, sources=config.sources)
        split.save(tmp_path / "splits.json")
        assert load_split(tmp_path / "splits.json") == split
        counts = source_counts(split)
        assert {name: sum(sides.values()) for name, sides in counts.items()} == {"north": 10, "south": 6, "empty": 8}

    def test_manifest_of_one_folder_says_nothing_of_sources(self, folders, tmp_path):
        samples = [Sample("x", next((folders["north"] / "images").iterdir()), None)]
        from polypseg.data.splits import split_of

        split_of(samples, ["train"], "by hand", 0).save(tmp_path / "splits.json")
        assert "source" not in load_text(tmp_path / "splits.json").partition('"samples"')[2]


def load_text(path):
    return path.read_text(encoding="utf-8")


class TestOfficial:
    """Kvasir-SEG's own names, on images of nothing: the rule needs no pixel."""

    @pytest.fixture(scope="class")
    @classmethod
    def kvasir(cls):
        root = Path(__file__).parents[3] / "shared" / "data" / "kvasir-seg" / "images"
        if not root.is_dir():
            pytest.skip("the names of Kvasir-SEG's images are needed (POLYPSEG_DATA)")
        names = sorted(path.stem for path in root.iterdir())
        return [Sample(f"kvasir_{name}", Path(name), None, source="kvasir") for name in names]

    @pytest.mark.data
    def test_likes_of_test_images_in_other_sources_are_left_out(self, kvasir):
        from polypseg.data.official import official_test_names

        test = official_test_names([own_name(sample) for sample in kvasir])
        place = next(index for index, sample in enumerate(kvasir) if own_name(sample) in test)
        samples = [*kvasir, *samples_of(10)]
        units = [unit for unit in alone(samples) if unit not in ([place], [1000])] + [[place, 1000]]
        sources = {"kvasir": SourceConfig(), "a": SourceConfig(validation=0.1, test=0.0)}
        assigned, words = assign_sources(samples, units, sources, SplitConfig())
        assert [assigned[:1000].count(side) for side in ("train", "validation", "test")] == [800, 80, 120]
        assert assigned[1000] is None
        assert "1 near-duplicates of official test images left out" in words

    @pytest.mark.data
    def test_likes_of_validation_images_validate_too(self, kvasir):
        samples = [*kvasir, *samples_of(10)]
        sources = {"kvasir": SourceConfig(), "a": SourceConfig(validation=0.1, test=0.0)}
        first, _ = assign_sources(samples, alone(samples), sources, SplitConfig())
        place = first.index("validation")
        units = [unit for unit in alone(samples) if unit not in ([place], [1000])]
        units.insert(place, [place, 1000])
        assigned, _ = assign_sources(samples, units, sources, SplitConfig())
        assert assigned[place] == "validation"
        assert assigned[1000] == "validation"


class TestDraws:
    def test_weights_change_how_often_a_source_is_shown(self):
        samples = samples_of(4, 10)
        given = draws(samples, {"a": SourceConfig(weight=2.0), "b": SourceConfig(weight=0.3)}, DataConfig())
        assert given == (2.0,) * 4 + (0.3,) * 10
        plan = BatchPlan(4, "none", True, 7, draws=given)
        order, keys = plan.epoch(14, 0)
        # 4 x 2 and 0.3 x 10 = 3: 11 images in 3 batches of at most 4
        assert len(order) == plan.num_shown(14) == 11
        assert len(keys) == 3
        assert sorted(np.bincount(order, minlength=14)[:4]) == [2, 2, 2, 2]
        assert np.bincount(order, minlength=14)[4:].max() == 1

    def test_epochs_show_other_parts_of_a_source_and_all_of_it_in_time(self):
        plan = BatchPlan(4, "none", True, 7, draws=(0.3,) * 10)
        shown = [frozenset(plan.epoch(10, epoch)[0].tolist()) for epoch in range(20)]
        assert len(set(shown)) > 5
        assert frozenset.union(*shown) == frozenset(range(10))
        assert plan.epoch(10, 3)[0].tolist() == plan.epoch(10, 3)[0].tolist()

    def test_balanced_shows_as_many_of_each_source(self):
        # 12 and 4 samples: 16 images an epoch, 8 of each, so 8/12 and 8/4 draws
        given = draws(samples_of(12, 4), dict.fromkeys("ab", SourceConfig()), DataConfig(sampling="balanced"))
        assert given == pytest.approx((8 / 12,) * 12 + (2.0,) * 4)
        shown = np.bincount(drawn(given, np.random.default_rng(0)), minlength=16)
        assert shown[:12].sum() == shown[12:].sum() == 8

    def test_equal_weights_need_no_draws(self):
        assert draws(samples_of(3, 3), dict.fromkeys("ab", SourceConfig()), DataConfig()) == ()


def test_images_of_all_sources_are_searched_for_leaks(folders, tmp_path):
    copy = tmp_path / "copies"
    (copy / "images").mkdir(parents=True)
    (copy / "masks").mkdir()
    first = sorted((folders["north"] / "images").iterdir())[0]
    image = cv2.imread(str(first))
    cv2.imwrite(str(copy / "images" / "copy.png"), image)
    cv2.imwrite(str(copy / "masks" / "copy.png"), np.zeros(image.shape[:2], np.uint8))
    config = with_folders(load_config(), [folders["north"], copy])
    sources = {
        name: source.model_copy(update={"validation": 0.3, "test": 0.3}) for name, source in config.sources.items()
    }
    samples, _ = find_source_samples(sources)
    for seed in range(5):
        split: Split = make_split(samples, SplitConfig(seed=seed), sources=sources)
        assert split.entries["copies_copy"].split == split.entries[f"north_{first.stem}"].split
