"""Where a LiteLLM deployment is called, and with which key: a provider here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import msgspec

from signalbox.cli.litellm_providers import Prefix
from signalbox.cli.litellm_secrets import Variables, is_no_key
from signalbox.cli.litellm_tables import ENV, Reference, Table
from signalbox.config_build import PLACE
from signalbox.config_credentials import REGION, TENANT, url_problem

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1"})

Key = Mapping[str, Any]
"""As `keys` of a provider has it."""


class Unservable(Exception):
    """A deployment cannot be carried over; the text says why and what there is instead."""


class Server(msgspec.Struct, frozen=True):
    """Where and how: what `[providers.NAME]` says besides the keys."""

    name: str
    """How the provider should be called."""
    kind: str
    """Under which name its ways are known; the same as `name` but at addresses of one's own."""
    api: str
    base_url: str | None = None
    """None: the usual one."""
    api_version: str | None = None
    project: str | None = None
    location: str | None = None


class Callee(msgspec.Struct, frozen=True):
    """`key` is None where none is needed."""

    server: Server
    key: Key | None
    model: str


class ServerReader(msgspec.Struct, frozen=True):
    """Reads the `litellm_params` of one deployment. Raises `Unservable`."""

    params: Table
    word: str
    """LiteLLM's for the provider."""
    prefix: Prefix
    variables: Variables
    azure_identity: bool = False
    """Whether deployments without a key ask Azure for tokens."""

    def read(self, model: str) -> Callee:
        """`model`: without the provider's prefix."""
        readers: Mapping[str, Callable[[str], Callee]] = {
            "azure": self._azure,
            "vertex": self._vertex,
            "bedrock": self._bedrock,
        }
        if self.word == "azure_ai":
            return self._azure_ai(model)
        return readers.get(self.prefix.api, self._usual)(model)

    # Providers with an address and a key

    def _usual(self, model: str) -> Callee:
        address = self._address()
        if address is None and self.prefix.default_url is None:
            raise Unservable(f"names no api_base, and {self.word} has no usual one")
        own = self._with_path(address) if address is not None else None
        usual = self.prefix.default_url
        if own is not None and usual is not None and own.rstrip("/") == usual.rstrip("/"):
            own = None
        return Callee(self._server(own), self._key(has_own_address=own is not None), model)

    def _server(self, base_url: str | None) -> Server:
        name, kind = self.prefix.name, self.prefix.name
        is_anybody = name == "openai" or (self.prefix.needs_key and self.prefix.default_url is None)
        if base_url is not None and is_anybody:
            # OpenAI's dialect at another address: nothing is known of who speaks it.
            name, kind = _name_of_host(base_url), ""
        if base_url is None and self.prefix.base_url is not None:
            base_url = self.prefix.base_url
        return Server(name, kind, self.prefix.api, base_url)

    def _with_path(self, address: str) -> str:
        parts = urlsplit(address)
        path = parts.path.rstrip("/")
        for ending in ("/chat/completions", "/completions", "/messages", "/embeddings", "/chat"):
            path = path.removesuffix(ending)
        if self.prefix.path and not re.search(r"/v\d", path):
            path += self.prefix.path
        return urlunsplit((parts.scheme, parts.netloc, path, "", ""))

    def _key(self, *, has_own_address: bool) -> Key | None:
        secret = self.params.secret("api_key")
        may_be_none = has_own_address or not self.prefix.needs_key
        if isinstance(secret, str) and may_be_none and is_no_key(secret):
            self.params.changed("api_key", "is taken to mean that the server wants no key")
            return None
        if secret is not None:
            return self._source("api_key", secret, f"{self.prefix.name}_API_KEY")
        environ = self.params.context.environ
        found = [name for name in self.prefix.variables if environ.get(name)]
        if found or self.prefix.needs_key:
            return {"env": (found or self.prefix.variables)[0]}
        return None

    def _source(self, key: str, secret: str | Reference, wanted: str) -> Key:
        node = self.params.origin(key)
        return self.variables.source(secret, wanted, self.params.at(key), node)

    def _address(self) -> str | None:
        """The deployment's own address, or the one that LiteLLM takes from the environment."""
        for key in ("api_base", "base_url"):
            if key in self.params:
                return self._checked(key, self._text(key, _unknown_address))
        usual = self.params.context.environ.get(f"{self.word.upper()}_API_BASE", "").strip()
        return usual if usual and url_problem(usual.partition("?")[0]) is None else None

    def _checked(self, key: str, address: str | None) -> str | None:
        if address is None:
            return None
        bare, _, _ = address.partition("?")
        problem = url_problem(bare)
        if problem is not None:
            self.params.mistake(key, problem)
            return _unknown_address("a-mistake")
        return address

    def _text(
        self, key: str, stand_in: Callable[[str], str], form: re.Pattern[str] | None = None
    ) -> str | None:
        """A text that must stand in the file: where its variable is not set, a stand-in."""
        if key not in self.params:
            return None
        text = self.params.text(key)
        node = self.params.origin(key)
        if text is None and isinstance(node.value, str) and node.value.strip().startswith(ENV):
            name = node.value.strip().removeprefix(ENV)
            text = stand_in(name)
            self.params.changed(key, f"stands in {name}, which is not set: the file has {text}")
            self.params.log.task(node, f"put the value of {name} in the place of {text}")
        if text is not None and form is not None and not form.fullmatch(text):
            self.params.mistake(key, "expected a word of letters, digits, dots and dashes")
        return text

    # Azure

    def _azure(self, model: str) -> Callee:
        address = self._address()
        if address is None:
            address = "https://set-azure-api-base.invalid"
            self.params.log.task(
                self.params.node,
                f"put the address of your Azure resource in the place of {address}",
            )
        parts = urlsplit(address)
        base_url = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        return Callee(
            Server("azure", "azure", "azure", base_url, self._azure_version(parts.query)),
            self._azure_key(),
            re.sub(r"^(o_series|gpt5_series|responses)/", "", model),
        )

    def _azure_version(self, query: str) -> str | None:
        version = self.params.text("api_version")
        if version is None:
            asked = parse_qs(query).get("api-version", [])
            version = asked[0] if asked else self.params.context.environ.get("AZURE_API_VERSION")
        if version in ("latest", "preview", "v1"):
            self.params.changed("api_version", "means the API without versions, /openai/v1")
            return None
        return version or None

    def _azure_key(self) -> Key:
        client = ("tenant_id", "client_id", "client_secret")
        if "client_secret" in self.params and "api_key" not in self.params:
            tenant = self._text("tenant_id", _unknown_word, TENANT)
            client_id = self._text("client_id", _unknown_word)
            secret = self.params.secret("client_secret")
            if tenant is None or client_id is None or secret is None:
                raise Unservable(f"expected {', '.join(client)} together")
            source = self._source("client_secret", secret, "AZURE_CLIENT_SECRET")
            return {
                "entra": {"tenant": tenant, "client_id": client_id, "client_secret": dict(source)}
            }
        if "azure_ad_token" in self.params:
            self.params.left(
                "azure_ad_token",
                "Signalbox asks for tokens itself: give the key `entra` or `managed_identity`",
            )
        if "api_key" not in self.params and self.azure_identity:
            return {"managed_identity": True}
        key = self._key(has_own_address=False)
        assert key is not None
        return key

    def _azure_ai(self, model: str) -> Callee:
        address = self._address()
        if address is None:
            raise Unservable("names no api_base")
        host = urlsplit(address).hostname or ""
        root = urlunsplit((*urlsplit(address)[:2], "", "", ""))
        key = self._key(has_own_address=False)
        if not host.endswith((".services.ai.azure.com", ".openai.azure.com")):
            base_url = self._with_path(address)
            return Callee(Server(_name_of_host(base_url), "", "openai", base_url), key, model)
        if model.startswith("claude"):
            server = Server("azure-claude", "anthropic", "anthropic", f"{root}/anthropic/v1")
            return Callee(server, key, model)
        return Callee(Server("azure-ai", "azure", "azure", root), key, model)

    # Google Cloud

    def _vertex(self, model: str) -> Callee:
        if not re.match(r"(gemini|claude)-|\*$", model):
            raise Unservable("Signalbox calls Gemini and Claude at Vertex AI, and no other models")
        environ = self.params.context.environ
        project = self._text("vertex_project", _unknown_word, PLACE)
        location = self._text("vertex_location", _unknown_word, PLACE)
        key = self._google_key()
        location = location or _fitting(environ.get("VERTEXAI_LOCATION"), PLACE)
        project = project or _fitting(environ.get("VERTEXAI_PROJECT"), PLACE)
        if project is None and "service_account" not in key:
            project = "set-vertex-project"
            self.params.log.task(
                self.params.node, f"put your project of Google Cloud in the place of {project}"
            )
        server = Server(
            "vertex", "vertex", "vertex", None, None, project, location or "us-central1"
        )
        return Callee(server, key, model)

    def _google_key(self) -> Key:
        node = self.params.take("vertex_credentials")
        file: str | None
        if node is None:
            file = self.params.context.environ.get("GOOGLE_APPLICATION_CREDENTIALS") or None
            return {"metadata": True} if file is None else {"service_account": file}
        if isinstance(node.value, dict):
            return self._google_file("is the key itself")
        given = self.params.text("vertex_credentials")
        if given is None:
            return self._google_file("stands in a variable that is not set")
        return (
            self._google_file("is the key itself") if "{" in given else {"service_account": given}
        )

    def _google_file(self, why: str) -> Key:
        file = "vertex-credentials.json"
        self.params.changed("vertex_credentials", f"{why}: it is read from the file {file}")
        self.params.log.task(
            self.params.origin("vertex_credentials"),
            f"put the service account's key into {file} beside signalbox.toml",
        )
        return {"service_account": file}

    # Amazon

    def _bedrock(self, model: str) -> Callee:
        region_in_model = re.match(r"(?:\w+/)?([a-z]{2}(?:-[a-z]+)+-\d)/", model)
        model = re.sub(r"^(converse_like|converse|invoke|llama|anthropic|nova)/", "", model)
        model = re.sub(r"^[a-z]{2}(-[a-z]+)+-\d/", "", model)
        environ = self.params.context.environ
        region = (
            self._text("aws_region_name", lambda name: "us-east-1", REGION)
            or (region_in_model[1] if region_in_model else None)
            or _fitting(environ.get("AWS_REGION_NAME"), REGION)
            or _fitting(environ.get("AWS_REGION"), REGION)
            or "us-west-2"
        )
        address = None
        if "aws_bedrock_runtime_endpoint" in self.params:
            key = "aws_bedrock_runtime_endpoint"
            address = self._checked(key, self._text(key, _unknown_address))
        usual = f"https://bedrock-runtime.{region}.amazonaws.com"
        server = Server("bedrock", "bedrock", "bedrock", (address or usual).rstrip("/"))
        return Callee(server, self._aws_key(region), model)

    def _aws_key(self, region: str) -> Key:
        if "api_key" in self.params:
            key = self._key(has_own_address=False)
            assert key is not None
            return key
        access: dict[str, Any] = {}
        for name in ("access_key_id", "secret_access_key", "session_token"):
            given = self.params.secret(f"aws_{name}")
            if given is not None:
                access[name] = dict(self._source(f"aws_{name}", given, f"AWS_{name}"))
        environ = self.params.context.environ
        if not access and environ.get("AWS_BEARER_TOKEN_BEDROCK"):
            return {"env": "AWS_BEARER_TOKEN_BEDROCK"}
        access.setdefault("access_key_id", {"env": "AWS_ACCESS_KEY_ID"})
        access.setdefault("secret_access_key", {"env": "AWS_SECRET_ACCESS_KEY"})
        return access | {"region": region}


def _fitting(text: str | None, form: re.Pattern[str]) -> str | None:
    """What the environment has, if it can be used."""
    return text if text is not None and form.fullmatch(text) else None


def _unknown_address(name: str) -> str:
    return f"https://set-{_slug(name)}.invalid"


def _unknown_word(name: str) -> str:
    return f"set-{_slug(name)}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:50] or "it"


def _name_of_host(base_url: str) -> str:
    """`gpu-box-8000`, `api-example-com`: how a provider at an address of its own is called."""
    parts = urlsplit(base_url)
    host = "local" if parts.hostname in _THIS_MACHINE else parts.hostname or "server"
    return _slug(f"{host}-{parts.port}" if parts.port else host)
