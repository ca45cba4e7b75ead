//! API keys. Only a key's hash is kept; the key itself is shown once, by whoever makes it.

use serde::{Deserialize, Serialize};

use crate::rows::{on_pool, readable, text};
use crate::{Store, StoreError, new_id, now_ms};

/// A key as kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its name in the store.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// SHA-256 of the key, in hex.
    pub hash: String,
    /// When it was made.
    pub created_ms: i64,
    /// When it was last used.
    pub last_used_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_ms: Option<i64>,
    /// What it may do: words separated by spaces, whose meaning is the server's.
    pub scopes: String,
    /// From when on it opens nothing.
    pub expires_ms: Option<i64>,
}

/// A key to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What it is for.
    pub name: String,
    /// See [`ApiKey::hash`].
    pub hash: String,
    /// See [`ApiKey::scopes`].
    pub scopes: String,
    /// See [`ApiKey::expires_ms`].
    pub expires_ms: Option<i64>,
}

readable!(ApiKey {
    id,
    name,
    hash,
    created_ms,
    last_used_ms,
    revoked_ms,
    scopes,
    expires_ms
});

impl Store {
    /// Keeps a key's hash: SHA-256 in hex, nothing else is taken, so that a key cannot be kept in
    /// the clear by mistake.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for what is no such hash.
    pub async fn add_key(&self, key: &NewKey) -> Result<ApiKey, StoreError> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if key.hash.len() != 64 || !key.hash.bytes().all(hex) {
            return Err(StoreError::Invalid(
                "an API key is kept as its SHA-256 in 64 lower-case hex digits".to_owned(),
            ));
        }
        on_pool!(self, pool => sqlx::query_as::<_, ApiKey>(
            "insert into api_keys (id, name, hash, created_ms, scopes, expires_ms)
             values ($1, $2, $3, $4, $5, $6) returning *"
        )
        .bind(new_id())
        .bind(text(&key.name))
        .bind(&key.hash)
        .bind(now_ms())
        .bind(text(&key.scopes))
        .bind(key.expires_ms)
        .fetch_one(pool)
        .await)
        .map_err(StoreError::query("keep an API key"))
    }

    /// The key of a hash, if it is there, not revoked and not expired; notes that it was used.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn use_key(&self, hash: &str) -> Result<Option<ApiKey>, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, ApiKey>(
            "update api_keys set last_used_ms = $2 where hash = $1 and revoked_ms is null
                 and (expires_ms is null or expires_ms > $2)
             returning *"
        )
        .bind(text(hash))
        .bind(now_ms())
        .fetch_optional(pool)
        .await)
        .map_err(StoreError::query("look up an API key"))
    }

    /// All keys, oldest first.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        on_pool!(self, pool => sqlx::query_as::<_, ApiKey>("select * from api_keys order by id")
            .fetch_all(pool)
            .await)
        .map_err(StoreError::query("list API keys"))
    }

    /// Revokes a key. False where there is none, or it is revoked already.
    ///
    /// # Errors
    /// Where the database refuses.
    pub async fn revoke_key(&self, id: &str) -> Result<bool, StoreError> {
        let rows = on_pool!(self, pool => sqlx::query(
            "update api_keys set revoked_ms = $2 where id = $1 and revoked_ms is null"
        )
        .bind(text(id))
        .bind(now_ms())
        .execute(pool)
        .await
        .map(|done| done.rows_affected()));
        Ok(rows.map_err(StoreError::query("revoke an API key"))? == 1)
    }
}
