//! Where a store is: a file, or a Postgres server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::StoreError;

/// A file, or a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A SQLite file, made where it is not there.
    Sqlite(PathBuf),
    /// A Postgres database.
    Postgres(String),
}

impl Location {
    /// The file `path`.
    pub fn file(path: impl AsRef<Path>) -> Location {
        Location::Sqlite(path.as_ref().to_owned())
    }
}

impl FromStr for Location {
    type Err = StoreError;

    /// `postgres://…` or `postgresql://…`, `sqlite:PATH`, or a path.
    fn from_str(text: &str) -> Result<Location, StoreError> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Location::Postgres(text.to_owned()));
        }
        let path = text
            .strip_prefix("sqlite://")
            .or_else(|| text.strip_prefix("sqlite:"));
        if path.is_none() && text.contains("://") {
            return Err(StoreError::Invalid(format!(
                "{text:?} is no database that Footnote knows; give postgres://USER@HOST/DATABASE or a file's path"
            )));
        }
        let path = path.unwrap_or(text);
        if path.is_empty() {
            return Err(StoreError::Invalid(
                "the database's path is empty; give postgres://USER@HOST/DATABASE or a file's path"
                    .to_owned(),
            ));
        }
        Ok(Location::Sqlite(PathBuf::from(path)))
    }
}

impl fmt::Display for Location {
    /// Without a password: this goes into messages and logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Sqlite(path) => write!(f, "{}", path.display()),
            Location::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
    // What follows `?` may hold a password too, and says nothing that a message needs.
    let rest = rest.split('?').next().unwrap_or_default();
    match rest.rsplit_once('@') {
        None => format!("{scheme}://{rest}"),
        Some((user, place)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{place}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_their_look_and_no_password_in_messages() {
        let of = |text: &str| text.parse::<Location>();
        assert_eq!(of("a/b.db").unwrap(), Location::file("a/b.db"));
        assert_eq!(of("sqlite:a.db").unwrap(), Location::file("a.db"));
        let server = of("postgres://ann:s3cr@t@db:5432/x?password=s3cr@t").unwrap();
        assert_eq!(server.to_string(), "postgres://ann@db:5432/x");
        assert!(
            of("mysql://x")
                .unwrap_err()
                .to_string()
                .contains("postgres://")
        );
        assert!(of("").is_err());
    }
}
