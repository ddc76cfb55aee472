"""`docs/parameters.md`: the table of parameters and what is known of providers, as a page."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from signalbox.adapters.openai_differences import DIFFERENCES, ENTRIES
from signalbox.adapters.openai_parameters import (
    OPENROUTER_ROUTING_FIELDS,
    PARAMETERS,
    Differences,
    Parameter,
)
from signalbox.adapters.openai_reasoning import ReasoningStyle
from signalbox.adapters.provider_entries import ModelRule
from signalbox.adapters.responses_providers import LACKS, PROVIDERS

_USUAL = Differences()


def render() -> str:
    rows = [
        f"| `{parameter.name}` | {parameter.kind} | {_lacking(parameter)} |"
        for parameter in sorted(PARAMETERS, key=lambda p: (p.kind, p.name))
    ]
    return _PAGE.format(
        rows="\n".join(rows),
        translations="\n".join(_translations()),
        responses=", ".join(f"`{name}`" for name in sorted(LACKS)),
        responders=", ".join(f"`{name}`" for name in sorted(PROVIDERS)),
        models="\n".join(_model_rows()),
        prefills="\n".join(_prefill_rows()),
        routing=", ".join(f"`{name}`" for name in sorted(OPENROUTER_ROUTING_FIELDS)),
    )


def _lacking(parameter: Parameter) -> str:
    if parameter.rare:
        takers = [name for name, it in DIFFERENCES.items() if parameter.name in it.takes]
        return f"all but {', '.join(sorted(takers))}"
    lacking = [name for name, it in DIFFERENCES.items() if parameter.name in it.lacks]
    thinking = [
        f"{name} (while it thinks)"
        for name, it in DIFFERENCES.items()
        if parameter.name in it.lacks_thinking
    ]
    return ", ".join(sorted([*lacking, *thinking])) or "none known"


def _translations() -> Iterable[str]:
    for provider, it in sorted(DIFFERENCES.items()):
        told = [
            *(f"`{ours}` is sent as `{theirs}`" for ours, theirs in it.renames.items()),
            *(f"a message's role `{ours}` as `{theirs}`" for ours, theirs in it.roles.items()),
            *_more(it),
        ]
        if told:
            yield f"- {provider}: {'; '.join(told)}."


def _more(it: Differences) -> Iterable[str]:
    if it.max_temperature != _USUAL.max_temperature:
        limit = f"{it.max_temperature:g}"
        yield f"a `temperature` above {limit} (a hint) as {limit}, and named"
    if it.reasoning != _USUAL.reasoning:
        yield f"reasoning: {_style(it.reasoning)}"
    if it.reasoning_back is not None:
        taken = ", ".join(f"`{name}`" for name in sorted(it.reasoning_back)) or "no field"
        yield f"an assistant's earlier reasoning in {taken}"
    if it.tool_ids is not None:
        yield f"ids of tool calls that do not match `{it.tool_ids.pattern}` as a digest"
    if not it.functions:
        yield "`functions` as `tools`, and back"
    if it.refuses_begun:
        yield "a last message of the assistant with the mark of a prefill"
    if it.refuses_empty:
        yield "empty messages of the assistant not at all"


def _style(style: ReasoningStyle | None) -> str:
    if style is None:
        return "none"
    if style.whole:
        return "as it came"
    told = []
    if style.efforts is None:
        told.append("`reasoning_effort`")
    elif style.efforts:
        told.append(f"`reasoning_effort` {', '.join(style.efforts)}")
    told += [f"on `{_json(style.on)}`"] if style.on else []
    told += [f"off `{_json(style.off)}`"] if style.off else []
    told += [f"budget `{style.budget}`"] if style.budget else []
    told += [f"hidden `{_json(style.hidden)}`"] if style.hidden else []
    return ", ".join(told)


def _model_rows() -> Iterable[str]:
    for provider, entry in sorted(ENTRIES.items()):
        for rule in entry.models:
            pattern = rule.pattern.replace("|", "\\|")
            yield f"| {provider} | `{pattern}` | {'; '.join(_changes(rule))} |"


def _changes(rule: ModelRule) -> Iterable[str]:
    if rule.lacks:
        yield f"lacks {', '.join(f'`{name}`' for name in sorted(rule.lacks))}"
    if rule.takes:
        yield f"takes {', '.join(f'`{name}`' for name in sorted(rule.takes))}"
    for name, value in rule.changes.items():
        if name == "reasoning":
            yield f"reasoning: {_style(value)}"
        elif name == "lacks_thinking":
            yield f"while it thinks, lacks {', '.join(f'`{row}`' for row in sorted(value))}"
        elif name in ("renames", "roles"):
            yield ", ".join(f"`{ours}` as `{theirs}`" for ours, theirs in value.items())
        elif name == "thinks_unasked":
            yield "thinks when told to"
        elif name == "one_instruction_role":
            yield "`system` beside `developer` as `developer`"


def _prefill_rows() -> Iterable[str]:
    for provider, differences in sorted(DIFFERENCES.items()):
        style = differences.prefill
        if style is not None:
            when = "with `prefill = true`" if style.on_request else "yes"
            fields = [f"`{name}: {_json(value)}`" for name, value in style.fields]
            repeats = "may be" if style.echoes else "no"
            yield f"| {provider} | {when} | {', '.join(fields) or 'none'} | {repeats} |"


def _json(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=dict).decode()


_PAGE = """# Parameters

What happens to a field of a chat completion request where a model of a provider does not take it.
This page is generated from `signalbox/adapters/openai_parameters.py` and `openai_differences.py`; a
test holds them equal.

- **hint**: translated, or left out for that provider and named in `x-signalbox-dropped` and on the
  trace.
- **meaning**: that provider is skipped; 400 `unsupported_parameter` when no route is left.
- With `extra.unsupported = "refuse"` or `provider.require_parameters`, hints count as meaning.
- Fields that the table does not name go to a provider of the same dialect as they are.

| use | class | providers that do not take it |
|---|---|---|
{rows}

`temperature` and `top_p` are no use of these rows with the value 1, which is the usual one.

## Translated

Nothing of this is named as dropped. `reasoning_effort` and OpenRouter's `reasoning` and
`include_reasoning` are one wish; an effort that a model does not know is sent as the nearest that
it knows, of two the higher. What cannot be said to a model is named (`reasoning.exclude`).

A client that asks for thinking expects to see it, and a Responses API shows it in a summary only:
for such a client of another dialect the gateway asks for one (`reasoning.summary: "auto"`), unless
it excludes it (`reasoning.exclude`, `display: "omitted"`, no `includeThoughts`). OpenAI refuses
summaries to organisations that it did not verify; a route's
`params = {{ reasoning = {{ exclude = true }} }}` keeps the gateway from asking where the client
does not.

{translations}

`extra` never leaves the gateway. OpenRouter's routing fields are acted on by the gateway and go to
no provider but OpenRouter: {routing}.

In streams the gateway itself asks for usage
(`stream_options.include_usage`), except at Mistral, which reports it unasked and takes no
`stream_options`.

## The Responses API

A request that came through `/v1/responses` goes as it is to a provider that serves this API
({responders}, and any with `responses = true`); of a model that answers there alone, chats go there
too. The endpoint has no field for these rows, whatever the provider's chat completions take:
{responses}.

## Models that differ from their provider's others

The pattern matches at the beginning of the model's name without a vendor's prefix. All that match
apply, from top to bottom.

| provider | models | difference |
|---|---|---|
{models}

## Prefill

A stream that broke after text was sent goes on from another route. A route that takes a prefill is
given what was sent, without trailing whitespace, as a last message of the assistant, and
`max_tokens` or `max_completion_tokens` less the tokens that this text is likely to have. A route
that does not is asked again from the start. A route's own `prefill = true` or `false` in the
configuration goes before this table; providers that it does not name take none that is known, and
with `prefill = true` get that message without any other field.

| provider | takes a prefill | fields added | repeated in the answer |
|---|---|---|---|
{prefills}
"""
