"""The images of Label Studio's tasks, as its server gives them.

Decisions:
- Images are fetched from the one address that this server was started with, whatever a request names: a request must
  not make this server call others. Redirects to elsewhere are not followed.
- The key of Label Studio comes from this server's settings, or else from Label Studio's own `/setup`.
"""

import json
import urllib.error
import urllib.request
from http.client import HTTPMessage
from typing import IO
from urllib.parse import quote, urljoin, urlsplit

from polypseg.errors import DataError

SECONDS = 20.0
"""For one image to come, at most."""


class LabelStudio:
    """A Label Studio from which images come.

    Args:
        address: Of its server, as http://localhost:8080.
        key: An access token of it: a legacy one, or a personal one (a JWT); None to take what `/setup` brings.
        max_bytes: Of an image.

    Attributes:
        given_key: What `/setup` brought.
    """

    def __init__(self, address: str, key: str | None, max_bytes: int) -> None:
        self._address, self._key, self._max_bytes = address.rstrip("/") + "/", key, max_bytes
        self.given_key: str | None = None
        self._opener = urllib.request.build_opener(_SameHost)

    def fetch(self, place: str) -> bytes:
        """The bytes of a task's image.

        Raises:
            DataError: It lies elsewhere, or cannot be had.
        """
        address = urljoin(self._address, place)
        if urlsplit(address)[:2] != urlsplit(self._address)[:2]:
            raise DataError("the image lies on another server than the Label Studio that was named")
        return self._get(quote(address, safe="/:?&=%+,;@~"), self._authorisation())

    def _authorisation(self) -> str:
        key = self._key or self.given_key
        if key is None:
            return ""
        if key.count(".") != 2:
            return f"Token {key}"
        content = json.dumps({"refresh": key}).encode()
        asked = urllib.request.Request(
            urljoin(self._address, "api/token/refresh"), content, {"Content-Type": "application/json"}
        )
        try:
            return f"Bearer {json.loads(self._read(asked))['access']}"
        except (ValueError, KeyError, TypeError) as error:
            raise DataError("Label Studio does not take the access token") from error

    def _get(self, address: str, authorisation: str) -> bytes:
        headers = {"Authorization": authorisation} if authorisation else {}
        return self._read(urllib.request.Request(address, headers=headers))

    def _read(self, asked: urllib.request.Request) -> bytes:
        try:
            with self._opener.open(asked, timeout=SECONDS) as opened:
                content: bytes = opened.read(self._max_bytes + 1)
        except (OSError, ValueError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            reason = getattr(error, "reason", None) or error
            raise DataError(f"Label Studio does not give it ({reason})") from error
        if len(content) > self._max_bytes:
            raise DataError(f"more than {self._max_bytes:,} bytes")
        return content


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects within one server alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The next request, or none."""
        if urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            fp.close()
            raise urllib.error.URLError("it redirects to another server")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
