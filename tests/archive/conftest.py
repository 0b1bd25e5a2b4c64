"""Headers of videos are read in the tests' own process; what another process is for is tested in test_opening.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from polypseg.archive import plan
from polypseg.archive.opening import Header, Opener, read_header


class HereOpener(Opener):
    """Reads headers in this very process: what the other one answers, without the cost of one."""

    def header(self, file: Path) -> Header:
        return read_header(file)


@pytest.fixture(scope="module", autouse=True)
def _here(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.path.name != "test_opening.py":
            patch.setattr(plan, "Opener", HereOpener)
        yield
