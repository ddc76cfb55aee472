-- Written by tools/write_docs.py from the migrations; change those.

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE gateway_keys (
    id VARCHAR(36) NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    prefix TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    revoked_at_us BIGINT,
    expires_at_us BIGINT,
    rpm BIGINT,
    tpm BIGINT,
    concurrency BIGINT,
    models TEXT NOT NULL, owner TEXT, enabled BOOLEAN DEFAULT 1 NOT NULL, providers TEXT DEFAULT '[]' NOT NULL, tags TEXT DEFAULT '[]' NOT NULL, preset TEXT, byok_fallback BOOLEAN DEFAULT 0 NOT NULL, previous_digest BLOB, previous_until_us BIGINT, updated_at_us BIGINT,
    CONSTRAINT pk_gateway_keys PRIMARY KEY (id),
    CONSTRAINT uq_gateway_keys_name UNIQUE (name),
    CONSTRAINT uq_gateway_keys_digest UNIQUE (digest)
);

CREATE TABLE traces (
    id VARCHAR(36) NOT NULL,
    started_at_us BIGINT NOT NULL,
    ended_at_us BIGINT NOT NULL,
    door TEXT NOT NULL,
    model TEXT NOT NULL,
    state TEXT NOT NULL,
    stream BOOLEAN NOT NULL,
    status BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    key_name TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    provider TEXT,
    route_model TEXT,
    error_code TEXT,
    error_message TEXT,
    end_user TEXT,
    tags TEXT NOT NULL,
    labels TEXT NOT NULL,
    prompt_tokens BIGINT,
    cached_read_tokens BIGINT,
    cache_write_tokens BIGINT,
    completion_tokens BIGINT,
    reasoning_tokens BIGINT,
    usage_estimated BOOLEAN NOT NULL,
    cost_nano_usd BIGINT,
    first_token_us BIGINT,
    duration_us BIGINT NOT NULL, cache_write_1h_tokens BIGINT, audio_input_tokens BIGINT, image_input_tokens BIGINT, audio_output_tokens BIGINT, image_output_tokens BIGINT, service_tier TEXT,
    CONSTRAINT pk_traces PRIMARY KEY (id)
);

CREATE INDEX ix_traces_model_id ON traces (model, id);

CREATE INDEX ix_traces_started_at_us ON traces (started_at_us);

CREATE TABLE ledger (
    id VARCHAR(36) NOT NULL,
    request_id VARCHAR(36) NOT NULL,
    at_us BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    route_model TEXT NOT NULL,
    prompt_tokens BIGINT,
    cached_read_tokens BIGINT,
    cache_write_tokens BIGINT,
    completion_tokens BIGINT,
    reasoning_tokens BIGINT,
    usage_estimated BOOLEAN NOT NULL,
    amount_nano_usd BIGINT,
    upstream_cost_nano_usd BIGINT,
    reason TEXT NOT NULL,
    price_source TEXT NOT NULL, cache_write_1h_tokens BIGINT, audio_input_tokens BIGINT, image_input_tokens BIGINT, audio_output_tokens BIGINT, image_output_tokens BIGINT, service_tier TEXT, kind TEXT DEFAULT 'charge' NOT NULL, account TEXT DEFAULT '' NOT NULL, end_user TEXT, tags TEXT DEFAULT '[]' NOT NULL, is_byok BOOLEAN DEFAULT 0 NOT NULL, attempts TEXT DEFAULT '[]' NOT NULL, note TEXT,
    CONSTRAINT pk_ledger PRIMARY KEY (id),
    CONSTRAINT uq_ledger_request_id UNIQUE (request_id)
);

CREATE TRIGGER ledger_refuses_update BEFORE UPDATE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: no row is changed'); END;

CREATE TRIGGER ledger_refuses_delete BEFORE DELETE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: no row is deleted'); END;

CREATE TRIGGER ledger_refuses_replace BEFORE INSERT ON ledger
    BEGIN
        SELECT RAISE(IGNORE) FROM ledger WHERE request_id = NEW.request_id;
        SELECT RAISE(ABORT, 'the ledger is append-only: no row is replaced')
            FROM ledger WHERE id = NEW.id;
    END;

CREATE TABLE provider_state (
    digest BLOB NOT NULL,
    route_id TEXT NOT NULL,
    key_mark TEXT NOT NULL,
    expires_at_us BIGINT NOT NULL, state BLOB,
    CONSTRAINT pk_provider_state PRIMARY KEY (digest)
);

CREATE INDEX ix_provider_state_expires_at_us ON provider_state (expires_at_us);

CREATE TABLE trace_events (
    trace_id VARCHAR(36) NOT NULL,
    encoding BIGINT NOT NULL,
    events BLOB NOT NULL,
    CONSTRAINT pk_trace_events PRIMARY KEY (trace_id),
    CONSTRAINT fk_trace_events_trace_id_traces FOREIGN KEY(trace_id) REFERENCES traces (id) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE TABLE trace_payloads (
    trace_id VARCHAR(36) NOT NULL,
    encoding BIGINT NOT NULL,
    payloads BLOB NOT NULL,
    CONSTRAINT pk_trace_payloads PRIMARY KEY (trace_id),
    CONSTRAINT fk_trace_payloads_trace_id_traces FOREIGN KEY(trace_id) REFERENCES traces (id) ON DELETE CASCADE
);

CREATE INDEX ix_traces_failed ON traces (id) WHERE state = 'failed';

CREATE TABLE users (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    email TEXT,
    role TEXT NOT NULL,
    token_digest BLOB,
    token_prefix TEXT,
    enabled BOOLEAN NOT NULL,
    updated_at_us BIGINT,
    CONSTRAINT pk_users PRIMARY KEY (id),
    CONSTRAINT uq_users_name UNIQUE (name)
);

CREATE TABLE budgets (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    subject TEXT,
    limit_nano_usd BIGINT NOT NULL,
    period TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    hard BOOLEAN NOT NULL,
    alert_at TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    updated_at_us BIGINT,
    CONSTRAINT pk_budgets PRIMARY KEY (id),
    CONSTRAINT uq_budgets_name UNIQUE (name)
);

CREATE TABLE presets (
    slug TEXT NOT NULL,
    version BIGINT NOT NULL,
    document TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    author TEXT NOT NULL,
    note TEXT NOT NULL,
    CONSTRAINT pk_presets PRIMARY KEY (slug, version)
);

CREATE TABLE config_entries (
    section TEXT NOT NULL,
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT,
    CONSTRAINT pk_config_entries PRIMARY KEY (section, name)
);

CREATE TABLE provider_keys (
    id TEXT NOT NULL,
    provider TEXT NOT NULL,
    label TEXT NOT NULL,
    sealed BLOB NOT NULL,
    created_at_us BIGINT NOT NULL,
    rpm BIGINT,
    tpm BIGINT,
    enabled BOOLEAN NOT NULL,
    updated_at_us BIGINT,
    CONSTRAINT pk_provider_keys PRIMARY KEY (id)
);

CREATE TABLE byok_keys (
    id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    label TEXT NOT NULL,
    sealed BLOB NOT NULL,
    created_at_us BIGINT NOT NULL,
    CONSTRAINT pk_byok_keys PRIMARY KEY (id),
    CONSTRAINT uq_byok_keys_key_id_provider UNIQUE (key_id, provider)
);

CREATE TABLE audit (
    id TEXT NOT NULL,
    at_us BIGINT NOT NULL,
    actor TEXT NOT NULL,
    role TEXT NOT NULL,
    action TEXT NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    "before" TEXT NOT NULL,
    "after" TEXT NOT NULL,
    address TEXT,
    CONSTRAINT pk_audit PRIMARY KEY (id)
);

CREATE INDEX ix_audit_kind_target_id ON audit (kind, target, id);

CREATE INDEX ix_ledger_key_id_at_us ON ledger (key_id, at_us);

CREATE INDEX ix_ledger_account_at_us ON ledger (account, at_us);

CREATE INDEX ix_ledger_at_us ON ledger (at_us);

CREATE INDEX ix_ledger_credits ON ledger (account) WHERE kind <> 'charge';

CREATE TABLE usage_hourly (
    hour_us BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    account TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    route_model TEXT NOT NULL,
    end_user TEXT NOT NULL,
    tags TEXT NOT NULL,
    requests BIGINT NOT NULL,
    byok_requests BIGINT NOT NULL,
    unknown_amounts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_read_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    amount_nano_usd BIGINT NOT NULL,
    upstream_cost_nano_usd BIGINT NOT NULL,
    CONSTRAINT pk_usage_hourly PRIMARY KEY (hour_us, key_id, account, model, provider, route_model, end_user, tags)
);

CREATE INDEX ix_usage_hourly_key_id_hour_us ON usage_hourly (key_id, hour_us);

CREATE INDEX ix_usage_hourly_account_hour_us ON usage_hourly (account, hour_us);

CREATE INDEX ix_usage_hourly_end_user_hour_us ON usage_hourly (end_user, hour_us);

CREATE TRIGGER ledger_counts_usage AFTER INSERT ON ledger WHEN NEW.kind = 'charge'
    BEGIN
        INSERT INTO usage_hourly (hour_us, key_id, account, model, provider, route_model, end_user,
            tags, requests, byok_requests, unknown_amounts, input_tokens, output_tokens,
            cached_read_tokens, reasoning_tokens, amount_nano_usd, upstream_cost_nano_usd)
        VALUES (NEW.at_us - NEW.at_us % 3600000000, NEW.key_id, NEW.account, NEW.model,
            NEW.provider, NEW.route_model, COALESCE(NEW.end_user, ''), NEW.tags, 1, NEW.is_byok,
            NEW.amount_nano_usd IS NULL,
            COALESCE(NEW.prompt_tokens, 0) + COALESCE(NEW.cached_read_tokens, 0)
                + COALESCE(NEW.cache_write_tokens, 0) + COALESCE(NEW.cache_write_1h_tokens, 0)
                + COALESCE(NEW.audio_input_tokens, 0) + COALESCE(NEW.image_input_tokens, 0),
            COALESCE(NEW.completion_tokens, 0) + COALESCE(NEW.reasoning_tokens, 0)
                + COALESCE(NEW.audio_output_tokens, 0) + COALESCE(NEW.image_output_tokens, 0),
            COALESCE(NEW.cached_read_tokens, 0), COALESCE(NEW.reasoning_tokens, 0),
            COALESCE(NEW.amount_nano_usd, 0), COALESCE(NEW.upstream_cost_nano_usd, 0))
        ON CONFLICT (hour_us, key_id, account, model, provider, route_model, end_user, tags)
        DO UPDATE SET requests = requests + excluded.requests,
            byok_requests = byok_requests + excluded.byok_requests,
            unknown_amounts = unknown_amounts + excluded.unknown_amounts,
            input_tokens = input_tokens + excluded.input_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            cached_read_tokens = cached_read_tokens + excluded.cached_read_tokens,
            reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
            amount_nano_usd = amount_nano_usd + excluded.amount_nano_usd,
            upstream_cost_nano_usd = upstream_cost_nano_usd + excluded.upstream_cost_nano_usd;
    END;

INSERT INTO alembic_version VALUES ('0006');
