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
    models TEXT NOT NULL,
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
    price_source TEXT NOT NULL, cache_write_1h_tokens BIGINT, audio_input_tokens BIGINT, image_input_tokens BIGINT, audio_output_tokens BIGINT, image_output_tokens BIGINT, service_tier TEXT,
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

INSERT INTO alembic_version VALUES ('0005');
