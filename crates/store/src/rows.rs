//! From a database's row to ours: one macro makes the reading of a struct for both databases, so
//! that a column cannot be read differently in one of them.

use std::str::FromStr;

use serde_json::Value;

/// Runs the same code on whichever database this is; `$pool` is its pool.
macro_rules! on_pool {
    ($store:expr, $pool:ident => $body:expr) => {
        match $store.pool() {
            crate::store::Pool::Sqlite($pool) => $body,
            crate::store::Pool::Postgres($pool) => $body,
        }
    };
}

/// Makes a struct readable from rows of both databases: plain columns, JSON columns, and columns of
/// words that an enum knows.
macro_rules! readable {
    ($name:ident { $($plain:ident),* $(,)? } $(json { $($json:ident),* $(,)? })? $(maybe_json { $($maybe:ident),* })? $(word { $($word:ident),* })?) => {
        crate::rows::readable!(@ sqlx::sqlite::SqliteRow, $name { $($plain),* } $(json { $($json),* })? $(maybe_json { $($maybe),* })? $(word { $($word),* })?);
        crate::rows::readable!(@ sqlx::postgres::PgRow, $name { $($plain),* } $(json { $($json),* })? $(maybe_json { $($maybe),* })? $(word { $($word),* })?);
    };
    (@ $row:ty, $name:ident { $($plain:ident),* } $(json { $($json:ident),* })? $(maybe_json { $($maybe:ident),* })? $(word { $($word:ident),* })?) => {
        impl<'r> sqlx::FromRow<'r, $row> for $name {
            fn from_row(row: &'r $row) -> Result<Self, sqlx::Error> {
                use sqlx::Row as _;
                Ok($name {
                    $($plain: row.try_get(stringify!($plain))?,)*
                    $($($json: crate::rows::json(stringify!($json), row.try_get(stringify!($json))?)?,)*)?
                    $($($maybe: crate::rows::maybe_json(stringify!($maybe), row.try_get(stringify!($maybe))?)?,)*)?
                    $($($word: crate::rows::word(stringify!($word), row.try_get(stringify!($word))?)?,)*)?
                })
            }
        }
    };
}

/// A column of closed words, as an enum.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vmeta])* $variant),* }

        impl $name {
            /// The word in the database and in JSON.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($name::$variant),)*
                    other => Err(format!("{other:?} is no {}", stringify!($name))),
                }
            }
        }
    };
}

pub(crate) use {on_pool, readable, words};

fn undecodable(
    column: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: source.into(),
    }
}

pub(crate) fn json(column: &str, text: String) -> Result<Value, sqlx::Error> {
    serde_json::from_str(&text).map_err(|error| undecodable(column, error))
}

pub(crate) fn maybe_json(column: &str, text: Option<String>) -> Result<Option<Value>, sqlx::Error> {
    text.map(|text| json(column, text)).transpose()
}

pub(crate) fn word<T: FromStr<Err = String>>(column: &str, text: String) -> Result<T, sqlx::Error> {
    text.parse()
        .map_err(|error: String| undecodable(column, error))
}

/// Text as both databases can keep it: Postgres takes no NUL character, so it is shown as its
/// symbol (U+2400). Everything else stays as it is.
pub(crate) fn text(given: &str) -> String {
    given.replace('\0', "\u{2400}")
}

/// [`text`] of what may be absent.
pub(crate) fn maybe_text(given: Option<&str>) -> Option<String> {
    given.map(text)
}
