"""Why an object store did not do what it was asked to, in words that say what to do.

Stores, their libraries and the network word their errors in many ways; what a person reads is always one of a few
reasons, and never a key or a token.
"""

import errno
import re
from typing import Protocol

NO_BUCKET = "there is no such bucket"
GOOGLE_KEYS = "GOOGLE_APPLICATION_CREDENTIALS, or the account of the machine or pod"
# Scheme → where its credentials come from, and what besides the network may keep us from it.
HINTS = {
    "s3": ("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role", " and AWS_ENDPOINT_URL"),
    "gs": (GOOGLE_KEYS, ""),
}
REASONS = (
    (
        r"OAuth2 access token|credentials file|CredentialsFile",
        errno.EACCES,
        "no credentials for the store can be used: set them ({keys}), also on the workers of a cluster; what is public "
        "is gs://anonymous@<bucket>",
    ),
    (
        r"169\.254\.|metadata\.google",
        errno.EACCES,
        "neither the environment nor this machine has credentials for the store: set them ({keys})",
    ),
    (r"NO_SUCH_BUCKET|NoSuchBucket|[Bb]ucket .*not found", errno.ENXIO, f"{NO_BUCKET}: check its name"),
    (
        r"ACCESS_DENIED|AccessDenied|HTTP status 403|403 Forbidden|Permission denied|PERMISSION_DENIED|UNAUTHENTICATED",
        errno.EACCES,
        "the store refuses access: set credentials that may do this ({keys}), also on the workers of a cluster",
    ),
    (
        r"INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN_ID|SIGNATURE_DOES_NOT_MATCH|InvalidAccessKeyId|EXPIRED_TOKEN|"
        r"UNRECOGNIZED_CLIENT|MISSING_AUTHENTICATION_TOKEN|ExpiredToken",
        errno.EACCES,
        "the store does not accept the credentials: they are wrong or have run out",
    ),
    (
        r"NETWORK_CONNECTION|curlCode|CURL error|REQUEST_TIMEOUT|Could not connect|Timeout|timed out|sending request",
        errno.EHOSTUNREACH,
        "the store cannot be reached: check the network{endpoint}",
    ),
    (
        r"SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|(HTTP status|status code:) 50[0234]|SlowDown|UNAVAILABLE",
        errno.EBUSY,
        "the store is overloaded or out of order",
    ),
)


class Address(Protocol):
    """What an object's path is here: it is said as text."""

    scheme: str


class ObjectError(OSError):
    """A store refuses, is out of reach, or has no such object (`errno` is ENOENT then).

    `strerror` is the reason in words, `filename` the address; neither ever holds a key or a token.
    """

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}" if self.filename else str(self.strerror)


def in_writing(error: ObjectError) -> ObjectError:
    """An error as who wanted to write wants to hear it: a bucket that is not there can be made."""
    if error.errno != errno.ENXIO:
        return error
    return ObjectError(errno.ENXIO, f"{NO_BUCKET}: make it first, or check its name", error.filename)


def told(error: BaseException, path: Address) -> ObjectError:
    """An error of pyarrow's in our words; of its own only the name of the error, and what is not of AWS at all."""
    if isinstance(error, ObjectError):
        return error
    text = " ".join(str(error).split())
    keys, endpoint = HINTS[path.scheme]
    for pattern, number, reason in REASONS:
        if re.search(pattern, text):
            return ObjectError(number, reason.format(keys=keys, endpoint=endpoint), str(path))
    name = re.search(r"AWS Error (\w+)", text)
    return ObjectError(errno.EIO, f"the store answers {name[1]}" if name else text[:300], str(path))
