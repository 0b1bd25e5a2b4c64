"""Frozen configs: the only place where a default of training is written.

A config file is a diff from these defaults (TOML, one table a class), and so is `--set key=value`:

    [model]
    filters = 32
    [train]
    epochs = 10
"""

from polypseg.config.loading import config_from, load_config, load_run_config, removed_settings, with_absolute_paths
from polypseg.config.tables import Config, DataConfig, LossConfig, ModelConfig, SourceConfig, SplitConfig, TrainConfig

__all__ = [
    "Config",
    "DataConfig",
    "LossConfig",
    "ModelConfig",
    "SourceConfig",
    "SplitConfig",
    "TrainConfig",
    "config_from",
    "load_config",
    "load_run_config",
    "removed_settings",
    "with_absolute_paths",
]
