//! `keys create|list|revoke` and `backup`: the operator's work on the store.

use footnote_server::{Scope, create_key};
use footnote_store::{BlockingStore, Location, now_ms};
use serde_json::json;

use crate::args::{BackupArgs, KeysCommand, StoreArgs};
use crate::commands::{Context, Usage};
use crate::output::Outcome;

/// Where the database is: by flag, variable, or in the home folder.
pub fn location(args: &StoreArgs, context: &Context) -> anyhow::Result<Location> {
    match &args.database {
        None => Ok(Location::file(context.home.database())),
        Some(text) => text
            .parse()
            .map_err(|error: footnote_store::StoreError| Usage(error.to_string()).into()),
    }
}

fn open(args: &StoreArgs, context: &Context) -> anyhow::Result<BlockingStore> {
    Ok(BlockingStore::open(&location(args, context)?)?)
}

pub fn run(command: &KeysCommand, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        KeysCommand::Create {
            name,
            scopes,
            days,
            store,
            json,
        } => create(name, scopes, *days, &open(store, context)?, *json, context),
        KeysCommand::List { store, json } => list(&open(store, context)?, *json, context),
        KeysCommand::Revoke { id, store } => revoke(id, &open(store, context)?, context),
    }
}

fn create(
    name: &str,
    words: &[String],
    days: Option<u32>,
    store: &BlockingStore,
    as_json: bool,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let scopes = words
        .iter()
        .map(|word| {
            Scope::parse(word.trim()).ok_or_else(|| {
                let known = Scope::ALL.map(Scope::word).join(", ");
                Usage(format!("no scope {word:?}; there are {known}"))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let expires_ms = days.map(|days| now_ms() + i64::from(days) * 86_400_000);
    let (key, id) = store.wait(create_key(store.store(), name, &scopes, expires_ms))?;
    let output = &context.output;
    if as_json {
        output.json(&json!({ "id": id, "key": key, "scopes": words, "expires_ms": expires_ms }))?;
        return Ok(Outcome::Done);
    }
    output.step("This is the only time that the key is shown:");
    output.line(&key)?;
    output.step(&format!("Its id, to revoke it by: {id}"));
    Ok(Outcome::Done)
}

fn list(store: &BlockingStore, as_json: bool, context: &Context) -> anyhow::Result<Outcome> {
    let keys = store.wait(store.store().keys())?;
    let now = now_ms();
    let state = |key: &footnote_store::ApiKey| {
        if key.revoked_ms.is_some() {
            "revoked"
        } else if key.expires_ms.is_some_and(|at| at <= now) {
            "expired"
        } else {
            "good"
        }
    };
    if as_json {
        let shown: Vec<_> = keys
            .iter()
            .map(|key| {
                json!({
                    "id": key.id, "name": key.name, "scopes": key.scopes, "state": state(key),
                    "created_ms": key.created_ms, "last_used_ms": key.last_used_ms, "expires_ms": key.expires_ms,
                })
            })
            .collect();
        context.output.json(&shown)?;
        return Ok(Outcome::Done);
    }
    for key in &keys {
        context.output.line(&format!(
            "{}  {:<8} {:<24} {}",
            key.id,
            state(key),
            key.scopes,
            key.name
        ))?;
    }
    if keys.is_empty() {
        context
            .output
            .step("no keys; `footnote keys create NAME` makes one");
    }
    Ok(Outcome::Done)
}

fn revoke(id: &str, store: &BlockingStore, context: &Context) -> anyhow::Result<Outcome> {
    if !store.wait(store.store().revoke_key(id))? {
        anyhow::bail!("no key {id:?} that could be revoked; `footnote keys list` shows them");
    }
    context.output.step("revoked");
    Ok(Outcome::Done)
}

/// `backup`.
pub fn back_up(args: &BackupArgs, context: &Context) -> anyhow::Result<Outcome> {
    let store = open(&args.store, context)?;
    store.wait(store.store().back_up(&args.file))?;
    context.output.step(&format!(
        "{} is a whole copy; put it in the database's place to restore",
        args.file.display()
    ));
    Ok(Outcome::Done)
}
