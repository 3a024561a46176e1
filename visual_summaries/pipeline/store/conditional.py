"""Writes that an object store carries out only if its object is still as it was last seen.

These few writes alone go through `obstore`, since pyarrow has no conditions and Amazon's client knows no other store.
All else stays with pyarrow: `obstore` lacks profiles, which are read here, and would not spare us our addresses, our
messages or the claim, only its race.
"""

import configparser
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from visual_summaries.pipeline.object_errors import ObjectError, told
from visual_summaries.pipeline.objects import (
    ANONYMOUS,
    ATTEMPTS,
    CONNECT_SECONDS,
    CONTENT_TYPES,
    GOOGLE_RETRY_SECONDS,
    REQUEST_SECONDS,
    ObjectPath,
    s3_options,
)

# What a store names one state of an object by: its e-tag, and Google's generation.
Version = dict[str, str | None]
NEVER_WRITTEN: Version = {"e_tag": '"00000000000000000000000000000000"', "version": "1"}
# The setting that is meant for nobody, skip_signature, asks the machine for an account all the same.
NOBODY = '{"disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}'


class Changed(Exception):
    """The object is not, or not any more, as it was last seen; it was not written."""


@dataclass(frozen=True)
class Seen:
    """One state of an object."""

    content: bytes
    version: Version


def current(path: ObjectPath) -> Seen | None:
    """The object as it is now; None where there is none.

    Raises:
        ObjectError: the store does not answer, or refuses.
    """
    try:
        with _told(path):
            found = _store(path.scheme, path.bucket).get(path.key)
            return Seen(bytes(found.bytes()), _version(found.meta))
    except ObjectError as error:
        if error.errno != errno.ENOENT:
            raise
    return None


def version_of(path: ObjectPath) -> Version | None:
    """The object's version, without its content; as `current`."""
    try:
        with _told(path):
            return _version(_store(path.scheme, path.bucket).head(path.key))
    except ObjectError as error:
        if error.errno != errno.ENOENT:
            raise
    return None


def put(path: ObjectPath, content: bytes, version: Version | None) -> Version:
    """Write the object if it is still `version`, or with None if there is none yet; returns its new version.

    `content` is found to be there already where the answer to an earlier attempt was lost.

    Raises:
        Changed: it is not.
        ObjectError: the store does not answer, or refuses.
    """
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    kind = CONTENT_TYPES.get(path.suffix.lower(), "application/octet-stream")
    # Of an object that Google's has never had, a generation means nothing.
    condition: Any = "create" if version is None else {key: value for key, value in version.items() if value}
    with _told(path):
        try:
            written = _store(path.scheme, path.bucket).put(
                path.key, content, mode=condition, attributes={"Content-Type": kind}, use_multipart=False
            )
            return _version(written)
        except (AlreadyExistsError, PreconditionError):
            pass
    found = current(path)
    if found is None or found.content != content:
        raise Changed(str(path))
    return found.version


def ignores_conditions(path: ObjectPath) -> str:
    """Why the store cannot be relied on to refuse; empty where it refused twice to write `path`, which is there.

    Raises:
        ObjectError: the store does not answer.
    """
    for version in (None, NEVER_WRITTEN):
        try:
            put(path, b"conditions are ignored", version)
        except Changed:
            continue
        except ObjectError as error:
            if error.errno in (errno.EHOSTUNREACH, errno.EBUSY):
                raise
            return str(error.strerror)
        return "the store ignores the conditions of conditional writes"
    return ""


@contextmanager
def _told(path: ObjectPath) -> Iterator[None]:
    from obstore.exceptions import BaseError, NotSupportedError

    try:
        yield
    except ObjectError:
        raise
    except NotSupportedError:
        raise ObjectError(errno.ENOTSUP, "the store knows no conditional writes", str(path)) from None
    except (BaseError, OSError, ValueError) as error:
        # What comes behind repeats it for who wrote the library.
        reason = told(OSError(str(error).partition("Debug source:")[0]), path)
        if reason.errno == errno.EIO and isinstance(error, FileNotFoundError):
            raise ObjectError(errno.ENOENT, "there is no such object", str(path)) from None
        raise reason from None


def _version(answer: Any) -> Version:
    return {"e_tag": answer["e_tag"], "version": answer["version"]}


@lru_cache(maxsize=32)
def _store(scheme: str, bucket: str) -> Any:
    """Obstore's store of the bucket, reached as `ObjectPath.file_system` reaches it."""
    from datetime import timedelta

    from obstore.store import GCSStore, S3Store
    from pyarrow.fs import resolve_s3_region

    client: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "timeout": timedelta(seconds=REQUEST_SECONDS),
        "allow_http": True,
    }
    retry = {
        "max_retries": ATTEMPTS - 1,
        "retry_timeout": timedelta(seconds=GOOGLE_RETRY_SECONDS),
        "backoff": {"init_backoff": timedelta(seconds=0.5), "max_backoff": timedelta(seconds=5), "base": 2},
    }
    if scheme == "gs":
        options: dict[str, Any] = {"service_account_key": NOBODY} if bucket.startswith(ANONYMOUS) else {}
        if server := os.environ.get("CLOUD_STORAGE_EMULATOR_ENDPOINT"):
            options["base_url"] = server.rstrip("/")
        return GCSStore(bucket.removeprefix(ANONYMOUS), client_options=client, retry_config=retry, **options)
    found = s3_options(bucket, resolve_s3_region)
    if authorities := found.get("tls_ca_file_path"):
        client["root_certificate"] = Path(authorities).read_bytes()
    region = found["region"]
    # Said even where it is Amazon's own: obstore would obey the variables that were to be ignored.
    endpoint = f"https://s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
    if "endpoint_override" in found:
        endpoint = f"{found['scheme']}://{found['endpoint_override']}"
    options = {"region": region, "endpoint": endpoint, "virtual_hosted_style_request": False}
    if provider := _profile():
        options["credential_provider"] = provider
    return S3Store(bucket, client_options=client, retry_config=retry, **options)


def _profile() -> Callable[[], dict[str, Any]] | None:
    """Where Amazon's files hold credentials that come before those of the machine or pod, what asks for them."""
    if os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY"):
        return None
    name = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    found = _settings_of(name)
    if not found:
        return None
    if {"aws_access_key_id", "aws_secret_access_key"} <= set(found):
        return lambda: _keys(_settings_of(name))
    if not any(key.startswith("sso_") or key in ("role_arn", "credential_process") for key in found):
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider

        return Boto3CredentialProvider()
    except Exception as error:
        missing = isinstance(error, ImportError)
        reason = "needs boto3: pip install boto3" if missing else f"gives none ({type(error).__name__})"
        raise ObjectError(errno.EACCES, f"for credentials of conditional writes the profile {name} {reason}") from None


def _settings_of(profile: str) -> dict[str, str]:
    """What Amazon's two files say of a profile; the one of credentials comes first."""
    settings: dict[str, str] = {}
    for variable, default, section in (
        ("AWS_CONFIG_FILE", "~/.aws/config", profile if profile == "default" else f"profile {profile}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", profile),
    ):
        parser = configparser.RawConfigParser(default_section="", strict=False)
        try:
            parser.read(Path(os.environ.get(variable) or default).expanduser(), encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        if parser.has_section(section):
            settings |= parser.items(section)
    return settings


def _keys(settings: dict[str, str]) -> dict[str, Any]:
    return {
        "access_key_id": settings["aws_access_key_id"],
        "secret_access_key": settings["aws_secret_access_key"],
        "token": settings.get("aws_session_token"),
        "expires_at": None,
    }
