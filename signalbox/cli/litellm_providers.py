"""LiteLLM's prefixes of models (`groq/…`) and what they are here.

Which prefix means which address and which variables hold its key is known from LiteLLM's
documentation, "Supported Models & Providers", and from the providers' own pages.
"""

from __future__ import annotations

import re

import msgspec

from signalbox.config_providers import KNOWN_PROVIDERS


class Prefix(msgspec.Struct, frozen=True):
    """What a prefix stands for."""

    name: str
    """The provider's name here."""
    variables: tuple[str, ...] = ()
    """Where LiteLLM looks for a key when the deployment has none."""
    base_url: str | None = None
    """None: the known provider's, or one that the deployment has to name."""
    needs_key: bool = True
    path: str = ""
    """What an address has behind its host here, and need not have there."""
    api: str = "openai"

    @property
    def default_url(self) -> str | None:
        known = KNOWN_PROVIDERS.get(self.name)
        return self.base_url or (known.base_url if known else None)


def _keyless(name: str, variable: str, base_url: str | None = None) -> Prefix:
    return Prefix(name, (variable,), base_url, needs_key=False, path="/v1")


_OPENAI = Prefix("openai", ("OPENAI_API_KEY",))
_AZURE = Prefix("azure", ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"), api="azure")
_ANTHROPIC = Prefix("anthropic", ("ANTHROPIC_API_KEY",), path="/v1", api="anthropic")
_COHERE = Prefix("cohere", ("COHERE_API_KEY", "CO_API_KEY"), path="/v2", api="cohere")
_VERTEX = Prefix("vertex", api="vertex")
_BEDROCK = Prefix("bedrock", ("AWS_BEARER_TOKEN_BEDROCK",), api="bedrock")
_OLLAMA = _keyless("ollama", "OLLAMA_API_KEY")
_VLLM = _keyless("vllm", "HOSTED_VLLM_API_KEY")
_TOGETHER = Prefix("together", ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"))
_AI21 = Prefix("ai21", ("AI21_API_KEY",), "https://api.ai21.com/studio/v1")

PREFIXES = {
    "openai": _OPENAI,
    "text-completion-openai": _OPENAI,
    "custom_openai": _OPENAI,
    "openai_like": Prefix("compatible", ("OPENAI_LIKE_API_KEY",)),
    "azure": _AZURE,
    "azure_text": _AZURE,
    "azure_ai": Prefix("azure-ai", ("AZURE_AI_API_KEY",)),
    "anthropic": _ANTHROPIC,
    "anthropic_text": _ANTHROPIC,
    "gemini": Prefix("google", ("GEMINI_API_KEY", "GOOGLE_API_KEY"), path="/v1beta", api="gemini"),
    "vertex_ai": _VERTEX,
    "vertex_ai_beta": _VERTEX,
    "bedrock": _BEDROCK,
    "bedrock_converse": _BEDROCK,
    "cohere": _COHERE,
    "cohere_chat": _COHERE,
    "mistral": Prefix("mistral", ("MISTRAL_API_KEY",)),
    "codestral": Prefix("codestral", ("CODESTRAL_API_KEY",), "https://codestral.mistral.ai/v1"),
    "deepseek": Prefix("deepseek", ("DEEPSEEK_API_KEY",)),
    "xai": Prefix("xai", ("XAI_API_KEY",)),
    "perplexity": Prefix("perplexity", ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY")),
    "groq": Prefix("groq", ("GROQ_API_KEY",)),
    "cerebras": Prefix("cerebras", ("CEREBRAS_API_KEY",)),
    "together_ai": _TOGETHER,
    "fireworks_ai": Prefix("fireworks", ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY")),
    "openrouter": Prefix("openrouter", ("OPENROUTER_API_KEY", "OR_API_KEY")),
    "ollama": _OLLAMA,
    "ollama_chat": _OLLAMA,
    "hosted_vllm": _VLLM,
    "lm_studio": _keyless("lm-studio", "LM_STUDIO_API_KEY", "http://127.0.0.1:1234/v1"),
    "llamafile": _keyless("llamafile", "LLAMAFILE_API_KEY", "http://127.0.0.1:8080/v1"),
    "xinference": _keyless("xinference", "XINFERENCE_API_KEY", "http://127.0.0.1:9997/v1"),
    "infinity": _keyless("infinity", "INFINITY_API_KEY"),
    "docker_model_runner": Prefix(
        "docker-model-runner",
        ("DOCKER_MODEL_RUNNER_API_KEY",),
        "http://localhost:22088/engines/llama.cpp/v1",
        needs_key=False,
    ),
    "lemonade": Prefix(
        "lemonade", ("LEMONADE_API_KEY",), "http://localhost:8000/api/v1", needs_key=False
    ),
    "litellm_proxy": Prefix("litellm", ("LITELLM_PROXY_API_KEY",)),
    "huggingface": Prefix(
        "huggingface",
        ("HF_TOKEN", "HUGGINGFACE_API_KEY"),
        "https://router.huggingface.co/v1",
        path="/v1",
    ),
    "databricks": Prefix("databricks", ("DATABRICKS_API_KEY", "DATABRICKS_TOKEN")),
    "moonshot": Prefix("moonshot", ("MOONSHOT_API_KEY",), "https://api.moonshot.ai/v1"),
    "dashscope": Prefix(
        "dashscope",
        ("DASHSCOPE_API_KEY",),
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    ),
    "zai": Prefix("zai", ("ZAI_API_KEY",), "https://api.z.ai/api/paas/v4"),
    "ai21": _AI21,
    "ai21_chat": _AI21,
    "nvidia_nim": Prefix("nvidia", ("NVIDIA_NIM_API_KEY",), "https://integrate.api.nvidia.com/v1"),
    "github": Prefix("github", ("GITHUB_API_KEY",), "https://models.inference.ai.azure.com"),
    "volcengine": Prefix(
        "volcengine",
        ("VOLCENGINE_API_KEY", "ARK_API_KEY"),
        "https://ark.cn-beijing.volces.com/api/v3",
    ),
    "friendliai": Prefix(
        "friendliai",
        ("FRIENDLIAI_API_KEY", "FRIENDLI_TOKEN"),
        "https://api.friendli.ai/serverless/v1",
    ),
    "sambanova": Prefix("sambanova", ("SAMBANOVA_API_KEY",), "https://api.sambanova.ai/v1"),
    "deepinfra": Prefix("deepinfra", ("DEEPINFRA_API_KEY",), "https://api.deepinfra.com/v1/openai"),
    "anyscale": Prefix("anyscale", ("ANYSCALE_API_KEY",), "https://api.endpoints.anyscale.com/v1"),
    "meta_llama": Prefix("meta-llama", ("LLAMA_API_KEY",), "https://api.llama.com/compat/v1"),
    "nebius": Prefix("nebius", ("NEBIUS_API_KEY",), "https://api.studio.nebius.ai/v1"),
    "novita": Prefix("novita", ("NOVITA_API_KEY",), "https://api.novita.ai/v3/openai"),
    "nscale": Prefix("nscale", ("NSCALE_API_KEY",), "https://inference.api.nscale.com/v1"),
    "featherless_ai": Prefix(
        "featherless", ("FEATHERLESS_AI_API_KEY",), "https://api.featherless.ai/v1"
    ),
    "hyperbolic": Prefix("hyperbolic", ("HYPERBOLIC_API_KEY",), "https://api.hyperbolic.xyz/v1"),
    "lambda_ai": Prefix("lambda", ("LAMBDA_API_KEY",), "https://api.lambda.ai/v1"),
    "vercel_ai_gateway": Prefix(
        "vercel", ("VERCEL_AI_GATEWAY_API_KEY",), "https://ai-gateway.vercel.sh/v1"
    ),
    "wandb": Prefix("wandb", ("WANDB_API_KEY",), "https://api.inference.wandb.ai/v1"),
    "v0": Prefix("v0", ("V0_API_KEY",), "https://api.v0.dev/v1"),
    "morph": Prefix("morph", ("MORPH_API_KEY",), "https://api.morphllm.com/v1"),
    "cometapi": Prefix("cometapi", ("COMETAPI_KEY",), "https://api.cometapi.com/v1"),
    "aiml": Prefix("aiml", ("AIML_API_KEY",), "https://api.aimlapi.com/v1"),
    "baseten": Prefix("baseten", ("BASETEN_API_KEY",), "https://inference.baseten.co/v1"),
    "voyage": Prefix("voyage", ("VOYAGE_API_KEY",), "https://api.voyageai.com/v1"),
    "jina_ai": Prefix("jina", ("JINA_AI_API_KEY",), "https://api.jina.ai/v1"),
    "poe": Prefix("poe", ("POE_API_KEY",), "https://api.poe.com/v1"),
    "scaleway": Prefix("scaleway", ("SCW_SECRET_KEY",), "https://api.scaleway.ai/v1"),
    "veniceai": Prefix("venice", ("VENICE_AI_API_KEY",), "https://api.venice.ai/api/v1"),
    "chutes": Prefix("chutes", ("CHUTES_API_KEY",), "https://llm.chutes.ai/v1"),
}
"""By LiteLLM's word."""

USUAL_VARIABLES = frozenset(name for prefix in PREFIXES.values() for name in prefix.variables)

_AUDIO_OR_IMAGES = "it makes or reads audio, images or rankings, which Signalbox does not serve yet"
_OWN_FORMAT = "it speaks a format of its own, which Signalbox does not speak"

WITHOUT_COUNTERPART = {
    "sagemaker": f"Amazon SageMaker: {_OWN_FORMAT}; serve the model OpenAI-compatibly",
    "sagemaker_chat": f"Amazon SageMaker: {_OWN_FORMAT}; serve it OpenAI-compatibly",
    "replicate": f"Replicate: {_OWN_FORMAT}; OpenRouter or Together have most of its models",
    "watsonx": f"IBM watsonx: {_OWN_FORMAT}",
    "watsonx_text": f"IBM watsonx: {_OWN_FORMAT}",
    "oci": f"Oracle Cloud: {_OWN_FORMAT}",
    "snowflake": f"Snowflake Cortex: {_OWN_FORMAT}",
    "triton": f"Triton: {_OWN_FORMAT}; its OpenAI-compatible frontend goes as `openai/…`",
    "cloudflare": "Cloudflare's address holds an account; its OpenAI-compatible one goes as "
    "`openai/…` with api_base https://api.cloudflare.com/client/v4/accounts/ID/ai/v1",
    "vllm": "vLLM inside of LiteLLM's process; run `vllm serve` and name it as `hosted_vllm/…`",
    "github_copilot": "GitHub Copilot: it is signed in to by a person in a browser",
    "chatgpt": "a ChatGPT subscription: it is signed in to by a person in a browser",
    "palm": "Google's PaLM API has ended; use a model of `gemini/…`",
    "predibase": f"Predibase: {_OWN_FORMAT}",
    "nlp_cloud": f"NLP Cloud: {_OWN_FORMAT}",
    "petals": f"Petals: {_OWN_FORMAT}",
    "gigachat": f"GigaChat: {_OWN_FORMAT}",
    "custom": "a handler in Python; put an OpenAI-compatible server in front of it",
    "auto_router": "a router that reads the prompt; clients choose the model here",
    "deepgram": _AUDIO_OR_IMAGES,
    "elevenlabs": _AUDIO_OR_IMAGES,
    "assemblyai": _AUDIO_OR_IMAGES,
    "stability": _AUDIO_OR_IMAGES,
    "black_forest_labs": _AUDIO_OR_IMAGES,
    "fal_ai": _AUDIO_OR_IMAGES,
    "recraft": _AUDIO_OR_IMAGES,
    "runwayml": _AUDIO_OR_IMAGES,
    "topaz": _AUDIO_OR_IMAGES,
    "aws_polly": _AUDIO_OR_IMAGES,
}
"""By LiteLLM's word, why not."""

_BY_NAME = (
    (re.compile(r"gpt-|chatgpt-|o\d(-|$)|ft:gpt-|text-embedding-|davinci|babbage"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"command|embed-(english|multilingual)"), "cohere"),
    (re.compile(r"gemini-"), "vertex_ai"),
    (
        re.compile(r"(us\.|eu\.|apac\.|global\.)?(anthropic|amazon|meta|mistral|cohere|ai21)\."),
        "bedrock",
    ),
    (re.compile(r"\*$"), "openai"),
)
"""Names that LiteLLM knows without a prefix."""


def prefix_by_name(model: str) -> str | None:
    """LiteLLM's word for the provider of a model that is named without it."""
    return next((word for pattern, word in _BY_NAME if pattern.match(model)), None)


def prefix_by_address(base_url: str) -> str | None:
    """LiteLLM's word for a provider's usual address."""
    for word, prefix in PREFIXES.items():
        usual = prefix.default_url
        if usual is not None and base_url.rstrip("/").startswith(usual.rstrip("/")):
            return word
    return None
