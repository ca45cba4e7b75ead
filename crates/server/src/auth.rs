//! API keys: who calls, and what the caller may do.
//!
//! A key is 32 random bytes behind `fn_`; the store has its SHA-256 only. The bytes are as many as the hash has, so a
//! slow hash would protect nothing. Looking a key up is remembered for a few seconds, so that a burst of requests is
//! not a burst of writes; a revoked key works that much longer at most.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use footnote_store::{NewKey, Store, StoreError};
use sha2::{Digest, Sha256};

use crate::error::{ApiError, ErrorCode};
use crate::serve::Peer;
use crate::state::App;

/// How long a looked-up key is believed.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Looked-up keys that are remembered at once.
const REMEMBERED_MAX: usize = 4_096;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Search and read filings.
    Search,
    /// Ask, chat, give feedback, see one's own traces.
    Ask,
    /// Start imports, evaluations and exports; see and cancel one's own jobs.
    Jobs,
    /// Everything, of everybody; metrics.
    Admin,
}

impl Scope {
    /// All, in the order in which they are shown.
    pub const ALL: [Scope; 4] = [Scope::Search, Scope::Ask, Scope::Jobs, Scope::Admin];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Search => "search",
            Scope::Ask => "ask",
            Scope::Jobs => "jobs",
            Scope::Admin => "admin",
        }
    }

    /// The scope of a word.
    pub fn parse(word: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.word() == word)
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The key's name in the store; none where no key is needed.
    pub key: Option<String>,
    /// For limits: the key, or the address.
    pub bucket: String,
    scopes: Vec<Scope>,
}

impl Caller {
    /// Whether the caller may.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// # Errors
    /// 403, naming the scope.
    pub fn need(&self, scope: Scope) -> Result<(), ApiError> {
        if self.may(scope) {
            return Ok(());
        }
        let word = scope.word();
        Err(ApiError::new(
            ErrorCode::Forbidden,
            format!(
                "this key lacks the scope {word:?}; `footnote keys create --scopes {word}` makes one with it"
            ),
        ))
    }

    /// Whether something of `owner` may be shown: one's own, or anything to an administrator.
    pub fn owns(&self, owner: Option<&str>) -> bool {
        self.may(Scope::Admin) || self.key.as_deref() == owner
    }

    /// The owner to list for; none lists all.
    pub fn lists(&self) -> Option<&str> {
        if self.may(Scope::Admin) {
            None
        } else {
            // A key without a name owns nothing: no owner is called so.
            Some(self.key.as_deref().unwrap_or("-"))
        }
    }
}

impl<S: Sync> axum::extract::FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Caller, ApiError> {
        parts
            .extensions
            .get::<Caller>()
            .cloned()
            .ok_or_else(|| ApiError::internal("a route without the key check"))
    }
}

/// Keys that were looked up a moment ago.
#[derive(Debug, Default)]
pub struct KeyCache(Mutex<HashMap<String, (Caller, Instant)>>);

impl KeyCache {
    fn find(&self, hash: &str) -> Option<Caller> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (caller, at) = known.get(hash)?;
        (at.elapsed() < REMEMBERED).then(|| caller.clone())
    }

    fn remember(&self, hash: String, caller: &Caller) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
        }
        if known.len() < REMEMBERED_MAX {
            known.insert(hash, (caller.clone(), Instant::now()));
        }
    }
}

/// The middleware: no route behind it is reached without a [`Caller`].
pub async fn check(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let authority = request.uri().authority().map(ToString::to_string);
    match caller(&app, peer, authority.as_deref(), request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

/// Without keys, whoever reaches the address may ask; so a web page that a user happens to visit must not, neither by
/// sending its reader's browser here (`Origin`) nor by giving its own name this address (`Host`).
fn check_origin(app: &App, authority: Option<&str>, headers: &HeaderMap) -> Result<(), ApiError> {
    let ours = |host: &str| {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        ["localhost", "127.0.0.1", "::1"].contains(&name)
            || app.settings.addr.ip().to_string() == name
            || app
                .settings
                .hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
    };
    let text = |name: header::HeaderName| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    let host = text(header::HOST).or(authority).unwrap_or_default();
    let refused = |what: &str| {
        ApiError::new(
            ErrorCode::Forbidden,
            format!(
                "this server without keys is not reached {what}; `--host NAME` adds a name, `--keys on` asks for keys"
            ),
        )
    };
    if !ours(host) {
        return Err(refused("under this host name"));
    }
    match text(header::ORIGIN) {
        None => Ok(()),
        Some(origin) => match origin.split_once("://") {
            Some((_, host)) if ours(host) => Ok(()),
            _ => Err(refused("from another site's page")),
        },
    }
}

async fn caller(
    app: &App,
    peer: Peer,
    authority: Option<&str>,
    headers: &HeaderMap,
) -> Result<Caller, ApiError> {
    let given = key_in(headers);
    if !app.settings.keys_required {
        check_origin(app, authority, headers)?;
        return Ok(Caller {
            key: None,
            bucket: peer.0.ip().to_string(),
            scopes: Scope::ALL.to_vec(),
        });
    }
    let refused = |message: &str| ApiError::new(ErrorCode::Unauthorized, message);
    let Some(given) = given else {
        return Err(refused("an API key is needed: `Authorization: Bearer KEY`"));
    };
    let hash = hash_of(given);
    if let Some(caller) = app.keys.find(&hash) {
        return Ok(caller);
    }
    let Some(key) = app.store.use_key(&hash).await? else {
        return Err(refused("the API key is unknown, revoked or expired"));
    };
    let caller = Caller {
        bucket: key.id.clone(),
        key: Some(key.id),
        scopes: key.scopes.split(' ').filter_map(Scope::parse).collect(),
    };
    app.keys.remember(hash, &caller);
    Ok(caller)
}

fn key_in(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| key.trim());
    }
    headers.get("x-api-key")?.to_str().ok()
}

/// What the store has of a key.
pub fn hash_of(key: &str) -> String {
    Sha256::digest(key.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Makes a key and keeps its hash; gives the key, to be shown once, and its name in the store.
///
/// # Errors
/// Where the system has no random bytes, or the database refuses.
pub async fn create_key(
    store: &Store,
    name: &str,
    scopes: &[Scope],
    expires_ms: Option<i64>,
) -> Result<(String, String), StoreError> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        StoreError::Invalid(format!("the system gives no random bytes: {error}"))
    })?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = format!("fn_{secret}");
    let words: Vec<&str> = scopes.iter().map(|scope| scope.word()).collect();
    let kept = store
        .add_key(&NewKey {
            name: name.to_owned(),
            hash: hash_of(&key),
            scopes: words.join(" "),
            expires_ms,
        })
        .await?;
    Ok((key, kept.id))
}
