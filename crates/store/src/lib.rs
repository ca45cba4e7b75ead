//! Conversations, traces, feedback and evaluation runs in SQLite or Postgres.
