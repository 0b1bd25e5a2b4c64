"""All that polypseg registers with Keras: with this imported, `keras.models.load_model` needs no `custom_objects`.

`import polypseg` sees to it, whether Keras is imported before or after (keras_import.py).
"""

from polypseg.models.blocks import FusedBatchNormalization
from polypseg.models.hub_encoders import HubEncoder
from polypseg.models.winograd import WinogradConvolution
from polypseg.train.coefficients import DiceCoefficient, IoUCoefficient
from polypseg.train.losses import BinaryCrossentropyDice, DeepSupervision, FocalTversky, Lovasz, Structure
from polypseg.train.optimizers import AdamW

REGISTERED = (
    FusedBatchNormalization,
    WinogradConvolution,
    HubEncoder,
    BinaryCrossentropyDice,
    FocalTversky,
    Lovasz,
    Structure,
    DeepSupervision,
    DiceCoefficient,
    IoUCoefficient,
    AdamW,
)
"""The classes, each as `polypseg>ClassName`."""
