"""Provider keys that are no string: who a token is asked for, and where.

What the file names is read here once; tokens themselves are the work of `actors/credentials.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, urlsplit

import msgspec

from signalbox.config_lines import KeyPath
from signalbox.config_report import ConfigError
from signalbox.config_schema import Entra, ManagedIdentity, ProviderKey, SecretSource
from signalbox.config_secrets import SecretReader, masked
from signalbox.config_source import read_text
from signalbox.types import Secret

ENTRA_HOST = "https://login.microsoftonline.com"
AZURE_METADATA = "http://169.254.169.254/metadata/identity/oauth2/token"
GOOGLE_TOKENS = "https://oauth2.googleapis.com/token"
GOOGLE_METADATA = (
    "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
)
AZURE_APIS = ("azure", "openai")
GOOGLE_APIS = ("vertex", "openai")
_PLAIN = ("env", "file", "value")
_RENEWING = ("entra", "managed_identity", "service_account", "metadata")
_ACCESS_KEY = ("access_key_id", "secret_access_key", "session_token", "region")
REGION = re.compile(r"[a-z]{2}[a-z0-9-]*-\d+")
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


class EntraClient(msgspec.Struct, frozen=True):
    """An application of Microsoft Entra ID with its client secret."""

    client_id: str
    client_secret: Secret
    token_url: str


class AzureIdentity(msgspec.Struct, frozen=True):
    """The managed identity of the virtual machine that the gateway runs on."""

    client_id: str | None
    """Of one assigned by the user; None: the machine's own."""
    token_url: str


class ServiceAccount(msgspec.Struct, frozen=True):
    """A service account of Google Cloud with its private key (PEM)."""

    email: str
    private_key: Secret
    private_key_id: str | None
    project: str | None
    token_url: str


class GoogleMetadata(msgspec.Struct, frozen=True):
    """The service account of the machine that the gateway runs on, at Google."""

    token_url: str


class AwsAccessKey(msgspec.Struct, frozen=True):
    """An access key of AWS, which requests are signed with; temporary with a `session_token`."""

    access_key_id: str
    secret_access_key: Secret
    region: str
    session_token: Secret | None = None


TokenCredential = EntraClient | AzureIdentity | ServiceAccount | GoogleMetadata
"""What tokens are asked for with."""
Credential = TokenCredential | AwsAccessKey


def account_of(credential: Credential) -> str:
    """Whose account it is: the same while its secret is replaced by a new one."""
    match credential:
        case EntraClient() | AzureIdentity():
            return f"{credential.client_id} at {credential.token_url}"
        case ServiceAccount():
            return credential.email
        case GoogleMetadata():
            return credential.token_url
        case AwsAccessKey():
            return f"{credential.access_key_id} in {credential.region}"


class ReadKey(msgspec.Struct, frozen=True):
    """A provider key as it was read: a string or a credential. `label` may be shown."""

    secret: Secret | None
    credential: Credential | None
    label: str


class _ServiceAccountFile(msgspec.Struct):
    type: str
    client_email: str
    private_key: str
    private_key_id: str | None = None
    project_id: str | None = None
    token_uri: str | None = None


class KeyReader(msgspec.Struct, frozen=True):
    """Reads the keys of one provider. Mistakes go to the report of `secrets`."""

    secrets: SecretReader
    api: str

    def read(self, key: ProviderKey, path: KeyPath) -> ReadKey | None:
        """The key; None when a mistake was reported. `path` is the key's own."""
        if any(getattr(key, name) is not None for name in _ACCESS_KEY):
            return self._access_key(key, path)
        renewing = [name for name in _RENEWING if getattr(key, name)]
        plain = [name for name in _PLAIN if getattr(key, name) is not None]
        if not renewing:
            self._without_token_url(key, path)
            secret = self.secrets.read(key, path)
            return None if secret is None else ReadKey(secret, None, masked(secret))
        if len(renewing) + len(plain) > 1:
            self._mistake(path, f"expected one kind of key, got {' and '.join(plain + renewing)}")
            return None
        name = renewing[0]
        apis = AZURE_APIS if name in ("entra", "managed_identity") else GOOGLE_APIS
        if self.api not in apis:
            expected = " or ".join(f'"{api}"' for api in apis)
            self._mistake((*path, name), f"expected api = {expected} with it")
            return None
        if key.token_url is not None and (problem := url_problem(key.token_url)):
            self._mistake((*path, "token_url"), problem)
            return None
        return self._renewing(key, path)

    def _renewing(self, key: ProviderKey, path: KeyPath) -> ReadKey | None:
        if key.entra is not None:
            return self._entra(key.entra, key.token_url, (*path, "entra"))
        if key.managed_identity:
            own = key.managed_identity
            client_id = own.client_id if isinstance(own, ManagedIdentity) else None
            identity = AzureIdentity(client_id, key.token_url or AZURE_METADATA)
            return ReadKey(None, identity, "managed identity")
        if key.service_account is not None:
            return self._service_account(
                key.service_account, key.token_url, (*path, "service_account")
            )
        return ReadKey(None, GoogleMetadata(key.token_url or GOOGLE_METADATA), "metadata server")

    def _entra(self, entra: Entra, token_url: str | None, path: KeyPath) -> ReadKey | None:
        if not TENANT.fullmatch(entra.tenant):
            self._mistake((*path, "tenant"), "expected a tenant's id or its domain")
            return None
        secret = self.secrets.read(entra.client_secret, (*path, "client_secret"))
        if secret is None:
            return None
        url = token_url or f"{ENTRA_HOST}/{quote(entra.tenant)}/oauth2/v2.0/token"
        label = f"Entra {masked(Secret(entra.client_id))}"
        return ReadKey(None, EntraClient(entra.client_id, secret, url), label)

    def _service_account(self, file: str, token_url: str | None, path: KeyPath) -> ReadKey | None:
        try:
            text = read_text(self.secrets.folder / file, "the file")
        except ConfigError as error:
            self._mistake(path, str(error))
            return None
        try:
            told = msgspec.json.decode(text, type=_ServiceAccountFile)
        except (msgspec.DecodeError, RecursionError):
            told = None
        if told is None or told.type != "service_account":
            self._mistake(path, "expected the JSON key file of a service account")
            return None
        if not told.private_key.lstrip().startswith("-----BEGIN "):
            self._mistake(path, "expected a private key in PEM in the file's `private_key`")
            return None
        url = token_url or told.token_uri or GOOGLE_TOKENS
        if problem := url_problem(url):
            self._mistake(path, f"the file's `token_uri`: {problem}")
            return None
        account = ServiceAccount(
            told.client_email, Secret(told.private_key), told.private_key_id, told.project_id, url
        )
        return ReadKey(None, account, told.client_email.partition("@")[0] or "service account")

    def _access_key(self, key: ProviderKey, path: KeyPath) -> ReadKey | None:
        others = [name for name in (*_PLAIN, *_RENEWING) if getattr(key, name)]
        if others:
            self._mistake(path, f"expected one kind of key, got access_key_id and {others[0]}")
            return None
        if self.api != "bedrock":
            self._mistake((*path, "access_key_id"), 'expected api = "bedrock" with it')
            return None
        missing = [name for name in _ACCESS_KEY if getattr(key, name) is None]
        for name in missing:
            if name != "session_token":
                self._mistake((*path, name), "is missing beside the rest of an access key")
        if key.access_key_id is None or key.secret_access_key is None or key.region is None:
            return None
        if not REGION.fullmatch(key.region):
            self._mistake((*path, "region"), 'expected a region, such as "us-east-1"')
            return None
        id = self._id(key.access_key_id, (*path, "access_key_id"))
        secret = self.secrets.read(key.secret_access_key, (*path, "secret_access_key"))
        token = None
        if key.session_token is not None:
            token = self.secrets.read(key.session_token, (*path, "session_token"))
            if token is None:
                return None
        if id is None or secret is None:
            return None
        access = AwsAccessKey(id.reveal(), secret, key.region, token)
        return ReadKey(None, access, f"access key {masked(id)}")

    def _id(self, given: str | SecretSource, path: KeyPath) -> Secret | None:
        return Secret(given) if isinstance(given, str) else self.secrets.read(given, path)

    def _without_token_url(self, key: ProviderKey, path: KeyPath) -> None:
        if key.token_url is not None:
            self.secrets.report.warn(
                (*path, "token_url"), f"has no effect without one of {', '.join(_RENEWING)}"
            )

    def _mistake(self, path: KeyPath, text: str) -> None:
        self.secrets.report.mistake(path, text)


def url_problem(url: str) -> str | None:
    """What is wrong with an http(s) URL that others are appended to; never repeats the URL."""
    expected = "expected an http:// or https:// URL"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return f"{expected}, got a malformed one"
    if parts.scheme not in ("http", "https"):
        return expected
    if not parts.hostname or port == 0 or not url.isascii() or not url.isprintable() or " " in url:
        return f"{expected}, got a malformed one"
    if parts.username is not None or parts.password is not None:
        return f"{expected} without user name and password"
    if "?" in url or "#" in url:
        return f"{expected} without query and fragment"
    return None


def vertex_base_url(location: str) -> str:
    """The address of a location: `global`, a multi-region (`us`, `eu`) or a region."""
    if location == "global":
        return "https://aiplatform.googleapis.com/v1"
    if location in ("us", "eu"):
        return f"https://aiplatform.{location}.rep.googleapis.com/v1"
    return f"https://{location}-aiplatform.googleapis.com/v1"


def bedrock_base_url(credentials: Iterable[Credential | None]) -> str | None:
    """The address in the region of a provider's first access key; None where it has none."""
    access = (each for each in credentials if isinstance(each, AwsAccessKey))
    region = next((each.region for each in access), None)
    return None if region is None else f"https://bedrock-runtime.{region}.amazonaws.com"


def project_of(credentials: Iterable[Credential | None]) -> str | None:
    """The project that the first service account among a provider's keys belongs to."""
    accounts = (each for each in credentials if isinstance(each, ServiceAccount))
    return next((account.project for account in accounts if account.project), None)
