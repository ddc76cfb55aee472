"""What of LiteLLM's configuration has no counterpart here: why, and what there is instead."""

from __future__ import annotations

import re
from collections.abc import Mapping

UNKNOWN = "is not a setting that this importer knows"
"""Of a key that stands in none of these tables."""

_CACHE = "Signalbox caches no answers; providers' own prompt caches are used, and kept warm"
_GUARDRAILS = "Signalbox has no guardrails; put a moderating service in front of it"
_LOGGING = "there are no callbacks: traces and /metrics (Prometheus) have what they tell"
_COOLDOWN = (
    "keys and routes have circuit breakers and cooldowns of their own; they need no settings"
)
_DATABASE = "Signalbox keeps its own database, `[storage]`"
_TOKENS = "there is no such sign-in; people use the admin token, clients gateway keys"
_UI = "it is about LiteLLM's own pages"
_HEALTH = "routes are not called to find out their health; what requests meet tells it"
_MCP = "Signalbox serves no MCP"
_AUDIO = "Signalbox does not serve this kind of request yet"
_TUNING = "it is about how LiteLLM itself runs"
_KEYS = "keys are made with `signalbox keys create`, which has no such defaults"
_TAGS = "requests are not routed by their tags; `extra.provider` chooses a provider"
_PRICES = "prices are the providers'; `input` and `output` of a route say otherwise"
_PROMPTS = "presets (`[presets]`) have system prompts, without templates"
_SSL = "TLS to providers is always verified, by the machine's certificates"
_HEADERS = "only a list of headers is forwarded, by dialect; see docs/parameters.md"
_PARAMETERS = (
    "parameters that a provider does not take are dropped and named in x-signalbox-dropped"
)
_DURATIONS = "a budget per provider or deployment does not exist; `[budgets]` are by key, user, tag"

Rules = Mapping[str, str]
"""A pattern of a key's whole name → why."""

TOP: Rules = {
    "guardrails|guardrail_list|policies|policy_attachments": _GUARDRAILS,
    "callback_settings": _LOGGING,
    "mcp_.*|search_tools|agent_list|vector_store_.*|worker_registry|files_settings|"
    "finetune_settings|assistant_settings": "Signalbox has no such part",
    "prompts|prompt_.*": _PROMPTS,
    "pass_through_endpoints": "there are no pass-through endpoints",
}

SETTINGS: Rules = {
    "(success|failure|service|audit_log)?_?callbacks?|langfuse_.*|langsmith_.*|s3_callback_.*|"
    "datadog_.*|prometheus_.*|custom_prometheus_.*|turn_off_message_logging|redact_.*|json_logs|"
    "set_verbose|.*_in_logs|store_audit_logs|logging_.*|otel.*|.*_callback_params": _LOGGING,
    "cache|cache_params|enable_redis_auth_cache|enable_caching_.*": _CACHE,
    "guardrails?|.*_in_guardrail|.*moderation.*|presidio_.*|llamaguard_.*|banned_.*|"
    "blocked_user_list|.*_keyword_list|secret_detection.*|lakera.*": _GUARDRAILS,
    "allowed_fails|cooldown_time|disable_cooldowns": _COOLDOWN,
    "modify_params|add_function_to_prompt|.*_params_for_.*|"
    "disable_stop_sequence_limit": _PARAMETERS,
    "ssl_.*": _SSL,
    "default_(team|internal_user|key_generate|user)_.*|upperbound_key_generate_params|"
    "key_generation_settings|max_internal_user_budget|default_max_internal_user_budget|"
    "max_ui_session_budget|enable_key_alias_.*|max_end_user_budget.*": _KEYS,
    "cost_(discount|margin)_config|custom_pricing|register_model": _PRICES,
    "mcp_.*": _MCP,
    "telemetry|force_ipv4|disable_aiohttp_transport|http2|.*tokenizer.*|user_url_.*|"
    "disable_.*|enable_.*|use_.*|route_all_.*|return_response_headers|overwrite_user_.*|"
    "require_managed_files|aiohttp_.*|num_workers": _TUNING,
    "budget_reset_time|timezone": "windows of budgets begin at midnight UTC",
    "custom_provider_map": "a handler in Python; put an OpenAI-compatible server in front of it",
    "tag_budget_config": "declare a budget of the tag in `[budgets]`",
    "public_model_groups.*": "/v1/models shows a key what it may call",
}

ROUTER: Rules = {
    "allowed_fails(_policy)?|cooldown_time|disable_cooldowns": _COOLDOWN,
    "(model_group_)?retry_policy": "one number of retries holds for all kinds of failures that a "
    "retry can help; docs/decisions.md has them",
    "enable_pre_call_checks?|optional_pre_call_checks": "every route is checked before it is "
    "called: what it takes, its context, its keys' limits",
    "enable_tag_filtering|tag_.*": _TAGS,
    "max_fallbacks": "`retry.max_attempts_total` bounds all calls of a request",
    "cache_responses|cache_kwargs|caching_groups|cache_params": _CACHE,
    "provider_budget_config": _DURATIONS,
    "routing_strategy_args|routing_groups|plugins|assistants_config|deployment_affinity.*|"
    "model_group_affinity_config|enable_weighted_failover|adaptive_.*|auto_router.*": "strategies "
    "have no such settings; a conversation stays with its route while the cache is warm",
    "(default_)?(max_parallel_requests|priority)|polling_interval": "a deployment "
    "has no limit of its own; gateway keys and `[limits]` have `concurrency`",
    "set_verbose|debug_level|alerting_config": _LOGGING,
    "client_ttl|router_general_settings|ignore_invalid_deployments|.*_check": _TUNING,
    ".*health_check.*": _HEALTH,
    "keepalive_seconds|allow_client_keepalive_override": "`server.keepalive` holds for all streams",
    "search_tools|guardrail_list": _GUARDRAILS,
}

GENERAL: Rules = {
    "database_url": f"{_DATABASE}; `--database-url` imports the keys",
    "database_.*|use_redis_transaction_buffer|disable_prisma_.*|proxy_batch_.*|"
    "allow_requests_on_db_unavailable|disable_spend_.*|disable_error_logs": _DATABASE,
    "store_model_in_db|supported_db_objects|proxy_config_reload.*": "models that LiteLLM keeps in "
    "its database are encrypted there; put them into config.yaml to have them imported",
    "store_prompts_in_spend_logs": "`traces.payloads` says what is kept of bodies",
    "maximum_spend_logs_.*": "`traces.retention_days` says how long traces are kept; the "
    "ledger stays",
    "alerting.*|alert_.*|spend_report_frequency": "`[alerts]` has one webhook for all alerts",
    "enable_jwt_auth|litellm_jwtauth|enable_oauth2.*|oauth2_.*|custom_auth.*|custom_sso|"
    "allow_user_auth|.*sso.*|role_permissions|enforce_rbac|ui_.*|.*login.*|control_plane_url|"
    "disable_master_key_return|disable_adding_master_key.*|user_header_.*": _TOKENS,
    "litellm_key_header_name": "keys are taken from Authorization, x-api-key, x-goog-api-key, "
    "api-key or ?key=; clients with another header have to change it",
    "key_management_.*|use_azure_key_vault|use_google_kms|use_aws_.*": "secrets are read from the "
    "environment or from files",
    "custom_key_.*|.*_key_generate|service_account_settings": _KEYS,
    "(background|enable|use_shared)?_?health_check.*|.*health_check.*": _HEALTH,
    "completion_model|embedding_model|image_generation_model|moderation_model|"
    "infer_model_from_keys": "clients name the model; an alias sends a name to another one",
    "forward_.*|use_x_forwarded_for|.*client_side.*|use_client_credentials.*": _HEADERS,
    "pass_through_.*": "there are no pass-through endpoints",
    "allowed_ips|public_routes|admin_only_routes|allowed_routes": "who may connect is a firewall's "
    "or a reverse proxy's work",
    "max_parallel_requests": "gateway keys and `[limits]` have `concurrency`",
    "max_.*_size_mb|.*file_extensions|.*batch.*": _AUDIO,
    "enforce_user_param|enforced_params|reject_clientside_.*|missing_session_id|"
    "litellm_license|disable_.*|enable_.*|user_api_key_cache.*|use_.*|always_include_.*|"
    "cancel_on_disconnect|.*_per_worker|admission_.*|drain_.*|.*drain.*|scheduled_.*|"
    "proxy_budget_.*|fail_closed_.*|enforce_fallback_.*|token_rate_limit_type|"
    "legacy_.*|scope_.*|allow_unmanaged_.*|.*keepalive.*": _TUNING,
    ".*mcp.*|search_tools": _MCP,
    "scheduler_.*|auto_.*": _UI,
}

PARAMS: Rules = {
    "tags|tag_regex": _TAGS,
    "max_budget|budget_duration": _DURATIONS,
    "cooldown_time|allowed_fails|allowed_fails_policy": _COOLDOWN,
    "max_parallel_requests|itpm|otpm|default_api_key_.*": "a deployment has limits of requests and "
    "tokens a minute; gateway keys and `[limits]` have `concurrency`",
    "additional_drop_params|drop_params|allowed_openai_params|modify_params": _PARAMETERS,
    "mock_response|mock_.*": "`signalbox simulate` is a provider that answers by a script",
    "configurable_clientside_auth_params": "clients bring their own keys with `extra.byok`",
    "use_in_pass_through|use_litellm_proxy|use_chat_completions_api|litellm_trace_id|use_xai_oauth|"
    "max_file_size_mb|merge_reasoning_content_in_choices|provider_affinity_header|"
    "stream_chunk_size|force_timeout|logger_fn|verbose|client|caching|cache": _TUNING,
    "guardrails|.*_guardrail.*": _GUARDRAILS,
    "keepalive_seconds|allow_client_keepalive_override": "`server.keepalive` holds for all streams",
    "(auto|complexity|adaptive|quality)_router_.*": "clients choose the model here",
    "ssl_.*": _SSL,
    "aws_(role|session|profile|web_identity|sts|external|bedrock_project).*": "an access key, "
    "or `api_key` with a Bedrock API key, signs requests; roles are not assumed",
    "azure_(username|password|scope)|azure_ad_token_provider": "the key may be `entra` or "
    "`managed_identity`",
    "s3_.*|gcs_.*|bucket_name|bedrock_tags|aws_batch_.*|.*_vector_.*|vector_store_.*|milvus_.*|"
    "valkey_.*|watsonx_.*": _AUDIO,
    "region_name": "the address says the region",
    "prompt_(id|variables|template.*)|initial_prompt_value|roles|final_prompt_value|bos_token|"
    "eos_token|hf_model_name|preset_cache_key|litellm_system_prompt": _PROMPTS,
    "cache_control_injection_points": "where a cache is asked for, the client says it",
    "messages|stream|input|prompt|model_list|fallbacks|context_window_fallback_dict|"
    "hedging.*": "is always the request's own",
    "(success_|failure_)?callbacks?|langfuse_.*|litellm_logging_obj|logging_.*": _LOGGING,
    "response_format_.*|model_config|supports_.*": _PARAMETERS,
}

INFO: Rules = {
    "supports_.*|supported_.*|input_modalities|output_modalities": "Signalbox knows what public "
    "models take; say `inputs` and `capabilities` on the route where it does not",
    "team_.*|access_windows|tier|discoverable|allow_fail_open|enable_tag_filtering|"
    "member_auto_router": "which models a key may call is said at the key",
    "health_check_.*|disable_background_health_check": _HEALTH,
    "ptu_.*|cost_per_ptu.*|custom_tokenizer|output_vector_size|tpm|rpm|key|litellm_provider|"
    "db_model|created_.*|updated_.*|internal_router_model": _TUNING,
}
INFO_OTHERS = "is a note: routes have none"

_BODY_FIELDS = """
    audio chat_template_kwargs dimensions encoding_format frequency_penalty function_call functions
    input_type logit_bias logprobs max_completion_tokens max_tokens metadata min_p modalities n
    parallel_tool_calls prediction presence_penalty prompt_cache_key reasoning reasoning_effort
    repetition_penalty response_format safety_identifier safety_settings seed service_tier stop
    stop_sequences store stream_options temperature thinking tool_choice tools top_a top_k
    top_logprobs top_p user verbosity web_search_options
"""
BODY_FIELDS = frozenset(_BODY_FIELDS.split())
"""Of the bodies of chats and embeddings: what LiteLLM sends on."""


def reason(key: str, rules: Rules) -> str | None:
    """Why a key has no counterpart; None where no rule knows it."""
    return next((why for pattern, why in rules.items() if re.fullmatch(pattern, key)), None)
