"""One entry of LiteLLM's `model_list`: how a model is served in one place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from signalbox.cli.litellm_bodies import READ_ELSEWHERE, read_body, read_headers
from signalbox.cli.litellm_prices import read_prices
from signalbox.cli.litellm_providers import (
    PREFIXES,
    WITHOUT_COUNTERPART,
    prefix_by_address,
    prefix_by_name,
)
from signalbox.cli.litellm_reasons import INFO, INFO_OTHERS, PARAMS, UNKNOWN, reason
from signalbox.cli.litellm_secrets import Variables
from signalbox.cli.litellm_servers import Callee, ServerReader, Unservable
from signalbox.cli.litellm_tables import ENV, Table
from signalbox.cli.yaml_tree import Node

_CHATS = ("chat", "completion", "responses")
_MAX_SECONDS = 3_600 * 24
_LEAST_WEIGHT = Decimal("0.000001")

BasePrice = Callable[[str], Mapping[str, Any]]
"""What the catalogue has of a model that LiteLLM names as `base_model`: keys of a route."""


class Seconds(msgspec.Struct, frozen=True):
    """Timeouts of one deployment, or of all; None: it does not say."""

    whole: Decimal | None = None
    stream: Decimal | None = None
    first_token: Decimal | None = None
    idle: Decimal | None = None


class Deployment(msgspec.Struct, frozen=True):
    """One way to serve the model `name`."""

    name: str
    callee: Callee
    route: Mapping[str, Any]
    """What a route says besides its provider, its model, its weight and its limits."""
    node: Node
    id: str | None = None
    weight: Decimal | None = None
    rpm: int | None = None
    tpm: int | None = None
    retries: int | None = None
    seconds: Seconds = Seconds()
    access_groups: tuple[str, ...] = ()


class DeploymentReader(msgspec.Struct, frozen=True):
    """`credentials`: those of `credential_list`, by name."""

    credentials: Mapping[str, Table]
    variables: Variables
    base_price: BasePrice
    azure_identity: bool

    def read(self, entry: Table) -> list[Deployment]:
        """The deployments of an entry: none where it has no counterpart, several where it names
        several organizations."""
        name = entry.text("model_name")
        params = self._params(entry)
        info = entry.table("model_info") or params_info(params)
        if name is None or params is None:
            for key, missing in (("model_name", name), ("litellm_params", params)):
                if missing is None and key not in entry:
                    entry.mistake(key, "is missing")
            return []
        try:
            made = self._made(name, entry, params, info)
        except Unservable as error:
            _finish(entry, params, info)
            where = entry.log
            where.left_with_all(entry.path, entry.node, f"{_shown(name)}: {error}")
            return []
        _finish(entry, params, info)
        return made

    def _params(self, entry: Table) -> Table | None:
        own = entry.table("litellm_params")
        if own is None:
            return None
        name = own.text("litellm_credential_name")
        if name is None:
            return own
        beneath = self.credentials.get(name)
        if beneath is None:
            own.mistake("litellm_credential_name", "expected a name of credential_list")
            return own
        layered = Table(own.node, own.path, own.context, beneath)
        layered.take("litellm_credential_name")
        return layered

    def _made(self, name: str, entry: Table, params: Table, info: Table | None) -> list[Deployment]:
        _check_name(name)
        _check_mode(info)
        callee = self._callee(params)
        if callee.model.count("*") > name.count("*"):
            raise Unservable("its model has a * that its name has not")
        route = self._route(params, info, callee)
        weight = params.number("weight")
        if weight and not _LEAST_WEIGHT <= weight <= 1 / _LEAST_WEIGHT:
            params.mistake("weight", "expected 0, or a number from 0.000001 to 1000000")
        deployment = Deployment(
            name=name,
            callee=callee,
            route=route,
            node=entry.node,
            id=info.text("id") if info else None,
            weight=weight,
            rpm=_limit("rpm", params, entry),
            tpm=_limit("tpm", params, entry),
            retries=_retries(params),
            seconds=read_seconds(params, "timeout"),
            access_groups=tuple(info.texts("access_groups")) if info else (),
        )
        return self._by_organization(deployment, params)

    def _callee(self, params: Table) -> Callee:
        model = params.text("model")
        if model is None:
            if "model" not in params:
                params.mistake("model", "is missing")
            raise Unservable("names no model")
        word, bare = self._word(params, model)
        reader = ServerReader(params, word, PREFIXES[word], self.variables, self.azure_identity)
        callee = reader.read(bare)
        if not callee.model:
            raise Unservable("names a provider and no model")
        return callee

    def _word(self, params: Table, model: str) -> tuple[str, str]:
        """LiteLLM's word for the provider, and the model without it. Raises `Unservable`."""
        word, slash, bare = model.partition("/")
        custom = params.text("custom_llm_provider")
        if custom is not None and custom != word:
            word, slash, bare = custom, "/", model
        if slash and word in WITHOUT_COUNTERPART:
            raise Unservable(WITHOUT_COUNTERPART[word])
        if not slash or word not in PREFIXES:
            address = params.origin("api_base").value
            known = prefix_by_address(address) if isinstance(address, str) else None
            known = known or prefix_by_name(model)
            if known is None and address is not None:
                known = "openai"
                params.changed(
                    "model", "names no provider: it is taken for an OpenAI-compatible one"
                )
            if known is None:
                raise Unservable(
                    f"its provider {_shown(word)} is not known here; where it speaks OpenAI's API, "
                    "name the model as `openai/…` with api_base"
                )
            word, bare = known, model
        elif word in ("openai", "custom_openai"):
            address = params.origin("api_base").value
            word = (prefix_by_address(address) if isinstance(address, str) else None) or word
            bare = re.sub(r"^responses/", "", bare)
        return word, bare

    # The route

    def _route(self, params: Table, info: Table | None, callee: Callee) -> Mapping[str, Any]:
        route: dict[str, Any] = {}
        order = params.count("order")
        if order is not None:
            route["order"] = order
        route |= read_prices([table for table in (params, info) if table is not None])
        headers = read_headers(params, callee.server.name, self.variables)
        if headers:
            route["headers"] = headers
        body = read_body(params)
        if body:
            route["params"] = body
        if info is not None:
            route |= self._info(info, route)
        return route

    def _info(self, info: Table, route: Mapping[str, Any]) -> Mapping[str, Any]:
        said: dict[str, Any] = {}
        context = info.count("max_input_tokens")
        output = info.count("max_output_tokens")
        either = info.count("max_tokens")
        if context:
            said["context_length"] = context
        if output or either:
            said["max_output"] = output or either
        if info.text("mode") == "embedding":
            said["outputs"] = ["embeddings"]
        base = info.text("base_model")
        if base is None:
            return said
        known = self.base_price(base)
        if not known:
            info.left("base_model", "the catalogue has no such model: say `input` and `output`")
        elif "input" in route:
            info.changed("base_model", "the prices that are declared go before it")
        else:
            info.changed("base_model", "its prices of the day of the import stand at the route")
            said = {**known, **said}
        return said

    def _by_organization(self, deployment: Deployment, params: Table) -> list[Deployment]:
        organizations = params.texts("organization")
        if not organizations:
            return [deployment]
        found = []
        for organization in organizations:
            value: Any = organization
            if organization.startswith(ENV):
                value = {"env": organization.removeprefix(ENV)}
            headers = {**deployment.route.get("headers", {}), "OpenAI-Organization": value}
            route = {**deployment.route, "headers": headers}
            found.append(msgspec.structs.replace(deployment, route=route))
        return found


def read_seconds(table: Table, whole: str) -> Seconds:
    """The timeouts of a table; `whole`: the key of the one that holds for a whole answer."""
    return Seconds(
        _duration(table, whole),
        _duration(table, "stream_timeout"),
        _duration(table, "ttft_timeout"),
        _duration(table, "stream_idle_timeout"),
    )


def params_info(params: Table | None) -> Table | None:
    """`model_info` may stand in `litellm_params` too."""
    return params.table("model_info") if params is not None else None


def _duration(table: Table, key: str) -> Decimal | None:
    seconds = table.number(key)
    if seconds is None:
        return None
    if not 0 < seconds <= _MAX_SECONDS:
        table.left(key, f"expected more than 0 and at most {_MAX_SECONDS} seconds")
        return None
    return seconds


def _check_name(name: str) -> None:
    if name.count("*") > 1:
        raise Unservable("a name may hold one *")
    if len(name) > 256 or not name.isprintable():
        raise Unservable("expected a name of at most 256 printable characters")


def _check_mode(info: Table | None) -> None:
    mode = info.text("mode") if info else None
    if mode is not None and mode not in (*_CHATS, "embedding"):
        raise Unservable(f"Signalbox does not serve the mode {_shown(mode)} yet")
    if info is not None and info.flag("blocked"):
        raise Unservable("it is blocked")


def _limit(key: str, params: Table, entry: Table) -> int | None:
    for table in (params, entry):
        if key in table:
            limit = table.count(key)
            if limit == 0:
                table.left(key, "0 is no limit here; leave the deployment out to block it")
            return limit or None
    return None


def _retries(params: Table) -> int | None:
    if "num_retries" in params:
        return params.count("num_retries")
    return params.count("max_retries")


def _finish(entry: Table, params: Table, info: Table | None) -> None:
    """Says of every key that nobody took why it has no counterpart."""
    for key in params.rest():
        why = reason(key, PARAMS)
        if why is None and key in READ_ELSEWHERE:
            why = "has no meaning for this provider"
        params.left(key, why or UNKNOWN)
    for key in info.rest() if info is not None else ():
        assert info is not None
        info.left(key, reason(key, INFO) or INFO_OTHERS)
    for key in entry.rest():
        entry.left(key, UNKNOWN)


def _shown(text: str) -> str:
    shown = "".join(each if each.isprintable() else "\ufffd" for each in text)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"


def names_of(deployments: Sequence[Deployment]) -> list[str]:
    """The models' names, each once, in their order."""
    return list(dict.fromkeys(deployment.name for deployment in deployments))
