"""Kvasir-SEG's official split (880 to train, 120 to test), known without a copy of the list.

The list belongs to the data set. What stands here are the first 8 hexadecimal digits of the SHA-256 of each test
image's stem: enough to recognise a name, and no way to read one. Among the 1000 names no two share their digits.

Reference:
    Jha et al., "Kvasir-SEG: A Segmented Polyp Dataset", MMM 2020; the split as published with
    Jha et al., "Real-Time Polyp Detection, Localization and Segmentation in Colonoscopy Using Deep Learning",
    IEEE Access 9, 2021.
"""

from collections.abc import Collection, Iterable
from hashlib import sha256

NUM_IMAGES = 1000
NUM_TEST_IMAGES = 120

_NAMES_DIGEST = "4873b7c0192459ecb781c94633e8f16fa0d7d12258f57d40611dcf9891f033f2"
"""SHA-256 of the 1000 stems, sorted and joined by line feeds."""

_TEST_PREFIXES = frozenset(
    """
    00e3e11c 02738385 02e8e61f 05710b2a 060d1d2b 0fc7ca05 12be0805 14b061a6 15a83ae0 15d5dea9 15d6b00a 175c37d2
    18fc8be4 1917dee5 1c307a2a 2664aa53 268cefaf 2c46f735 2ca2c4cc 31b93665 344ab78b 34703dc8 34be4349 373c9d34
    3a2e17d7 3cbc180a 40d46c08 4162e6f7 41b2b542 436c4575 443696df 45de65a0 46405d36 479cd48d 4a42765f 4ce32805
    4e8e9c34 500787ef 53eac068 598d573f 59b1a98c 5c241696 5d22c68e 60ce6bab 6ad28d1b 6cdb87d2 6da1f1f4 6dade396
    6f91cc69 71cd6c3a 72ff27b8 75efa2d8 78d93acb 7eabd795 817db4b4 81b8c425 83fbc85f 842254fc 8556b66e 85cac8c4
    8670e0e5 8b71074a 8c434dfb 8c6629dd 8ddb8358 8ff4c7a7 94d39f92 98850fae 9b9ecd5d 9cdb7ad0 9ed88505 9eeaee05
    9ff993cd a3e060b8 a978a3a9 b0f73e15 b2ce1d15 b3ca6ecd b439d604 b6cd1829 b6ce0f18 b763c817 bf9b753d c552352e
    c66dc5b4 c74eb16b c8981a29 c92339a5 c9738087 c9b07133 cb194139 cb9ced17 cc30dd0a ce3b8a58 d08d05af d14f4f7a
    d37e20bf d468bac0 d5564298 d5ba8708 d867bb62 d87ba022 d9be7190 dbc775fc e30fadcb e3d7c752 e417087c e41c173b
    e90e57af f2a40278 f496c288 f555b3d7 f68d6b99 f6e8ec05 f7bf2613 f968d7b7 fd2d810b fd8fee47 fe37c819 fe37e7f1
    """.split()  # noqa: SIM905  (twelve a line are easier to read than a list of 120)
)


def is_kvasir_seg(names: Collection[str]) -> bool:
    """Whether the names are the 1000 stems of Kvasir-SEG: all of them, and no other.

    >>> is_kvasir_seg(["polyp_1", "polyp_2"])
    False
    """
    if len(names) != NUM_IMAGES:
        return False
    return sha256("\n".join(sorted(names)).encode()).hexdigest() == _NAMES_DIGEST


def official_test_names(names: Iterable[str]) -> set[str]:
    """Those of the names that belong to the official test set.

    A name outside Kvasir-SEG is taken for one of the 120 with a chance of 3 in 10⁸: ask `is_kvasir_seg` first.

    >>> official_test_names(["polyp_1", "polyp_2"])
    set()
    """
    return {name for name in names if sha256(name.encode()).hexdigest()[:8] in _TEST_PREFIXES}
