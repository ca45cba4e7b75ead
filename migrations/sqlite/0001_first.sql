-- The first schema. JSON is kept as text, times are milliseconds since 1970 in UTC; the same columns as in
-- migrations/postgres, so that one set of queries serves both.

create table eval_runs (
    id            text primary key,
    suite         text not null,
    suite_hash    text not null,
    task          text not null,
    dataset       text not null,
    dataset_hash  text not null,
    ranker        text not null,
    model         text not null,
    cache         text not null,
    compression   text not null,
    config        text not null,
    items_total   bigint not null,
    started_ms    bigint not null,
    finished_ms   bigint
);

create table eval_items (
    run_id       text not null references eval_runs (id) on delete cascade,
    row_no       bigint not null,
    question_id  text not null,
    question     text not null,
    state        text not null check (state in ('done', 'failed', 'over_budget')),
    result       text not null,
    error        text,
    time_ms      double precision not null,
    tokens_in    bigint not null,
    tokens_out   bigint not null,
    trace_id     text,
    finished_ms  bigint not null,
    primary key (run_id, row_no)
);

create table eval_calls (
    run_id      text not null,
    row_no      bigint not null,
    call_no     bigint not null,
    prompt      text not null,
    output      text not null,
    time_ms     double precision not null,
    tokens_in   bigint not null,
    tokens_out  bigint not null,
    primary key (run_id, row_no, call_no),
    foreign key (run_id, row_no) references eval_items (run_id, row_no) on delete cascade
);

create table traces (
    id          text primary key,
    origin      text not null,
    question    text not null,
    model       text not null,
    answer      text not null,
    events      text not null,
    tokens_in   bigint not null,
    tokens_out  bigint not null,
    total_ms    double precision not null,
    created_ms  bigint not null
);
create index traces_by_time on traces (created_ms, id);

create table feedback (
    id          text primary key,
    trace_id    text not null references traces (id) on delete cascade,
    rating      bigint not null check (rating between -1 and 1),
    correction  text,
    comment     text,
    author      text,
    created_ms  bigint not null
);
create index feedback_by_trace on feedback (trace_id);

create table conversations (
    id          text primary key,
    title       text not null,
    owner       text,
    created_ms  bigint not null
);

create table messages (
    conversation_id  text not null references conversations (id) on delete cascade,
    position         bigint not null,
    role             text not null check (role in ('user', 'assistant')),
    content          text not null,
    trace_id         text references traces (id) on delete set null,
    created_ms       bigint not null,
    primary key (conversation_id, position)
);

create table jobs (
    id            text primary key,
    kind          text not null,
    payload       text not null,
    dedup_key     text unique,
    state         text not null
                  check (state in ('waiting', 'running', 'done', 'dead', 'cancelled')),
    attempts      bigint not null,
    attempts_max  bigint not null,
    progress      double precision not null,
    result        text,
    error         text,
    run_after_ms  bigint not null,
    lease_ms      bigint,
    created_ms    bigint not null,
    updated_ms    bigint not null
);
create index jobs_by_turn on jobs (state, run_after_ms, created_ms, id);

create table api_keys (
    id           text primary key,
    name         text not null,
    hash         text not null unique,
    created_ms   bigint not null,
    last_used_ms bigint,
    revoked_ms   bigint
);
