//! Why something could not be kept or read back.

/// What can go wrong with the store. The message names the place and the mend.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened.
    #[error("cannot open the database {location}: {reason}; {mend}")]
    Open {
        /// The file, or the URL without its password.
        location: String,
        /// What is wrong.
        reason: String,
        /// What the user can do.
        mend: String,
    },
    /// The schema cannot be brought up to date.
    #[error(
        "the schema of {location} cannot be brought up to date: {reason}; a database of a newer Footnote \
         needs that Footnote, a damaged one its backup"
    )]
    Migrate {
        /// The file, or the URL without its password.
        location: String,
        /// What is wrong.
        reason: String,
    },
    /// The database refused a statement.
    #[error("the database refused to {doing}: {source}")]
    Query {
        /// What was tried.
        doing: &'static str,
        /// The database's reason.
        source: sqlx::Error,
    },
    /// A row names something that is not there.
    #[error("no {what} {id:?} in the store")]
    Missing {
        /// `trace`, `run`, ….
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// A value that the store does not take.
    #[error("{0}")]
    Invalid(String),
}

impl StoreError {
    /// For `map_err`: which statement it was.
    pub(crate) fn query(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
        move |source| StoreError::Query { doing, source }
    }
}
