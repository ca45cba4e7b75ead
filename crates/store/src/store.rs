//! Opening a store: the connections, the pragmas, the schema.

use std::fs::{self, File};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};

use crate::{Location, StoreError};

static SQLITE: Migrator = sqlx::migrate!("../../migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("../../migrations/postgres");

/// How long a writer waits for another before it gives up. SQLite has one writer at a time; a
/// statement here takes milliseconds.
const BUSY_WAIT: Duration = Duration::from_secs(30);
/// How long an opening waits for a server.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: u32 = 8;

/// An open store; clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
}

#[derive(Clone, Debug)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Store {
    /// Opens a store and brings its schema up to date. A SQLite file and its folder are made where
    /// they are not there; several processes may open one at the same time.
    ///
    /// # Errors
    /// Where the file or server cannot be reached, or holds another schema.
    pub async fn open(location: &Location) -> Result<Store, StoreError> {
        let pool = match location {
            Location::Sqlite(path) => open_file(location, path).await?,
            Location::Postgres(url) => open_server(location, url).await?,
        };
        Ok(Store { pool })
    }

    /// Ends all connections; what was written is kept in any case.
    pub async fn close(&self) {
        crate::rows::on_pool!(self, pool => pool.close().await);
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        crate::rows::on_pool!(self, pool => sqlx::query("select 1").execute(pool).await.map(|_| ()))
            .map_err(StoreError::query("answer"))
    }

    /// Writes a copy of a SQLite store to `path`, whole and consistent while others go on writing.
    ///
    /// # Errors
    /// Where something is at `path` already, and for Postgres, whose own `pg_dump` does it.
    pub async fn back_up(&self, path: &Path) -> Result<(), StoreError> {
        let Pool::Sqlite(pool) = &self.pool else {
            return Err(StoreError::Invalid(
                "a Postgres store is backed up with pg_dump".to_owned(),
            ));
        };
        // SQLite would write into an empty file that is there.
        if path.symlink_metadata().is_ok() {
            return Err(StoreError::Invalid(format!(
                "{} is there already; name a new file",
                path.display()
            )));
        }
        sqlx::query("vacuum into $1")
            .bind(path.display().to_string())
            .execute(pool)
            .await
            .map(|_| ())
            .map_err(StoreError::query("write a backup"))
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

async fn open_file(location: &Location, path: &Path) -> Result<Pool, StoreError> {
    let unusable = |reason: String| StoreError::Open {
        location: location.to_string(),
        reason,
        mend: "name a folder that can be written, with --home or FOOTNOTE_HOME".to_owned(),
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder).map_err(|error| unusable(error.to_string()))?;
    }
    // SQLite's migrations have no lock of their own, and two first openings at once would both make
    // the tables. The lock goes with the process, so a killed one leaves nothing locked.
    let lock_path = path.with_extension("lock");
    let locked = tokio::task::spawn_blocking(move || {
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)?;
        lock.lock()?;
        Ok::<File, std::io::Error>(lock)
    });
    let _lock = locked
        .await
        .map_err(|error| unusable(error.to_string()))?
        .map_err(|error| unusable(error.to_string()))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_WAIT)
        .foreign_keys(true);
    let pool = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .connect_with(options)
        .await
        .map_err(|error| unusable(error.to_string()))?;
    SQLITE
        .run(&pool)
        .await
        .map_err(|error| migrate(location, &error))?;
    Ok(Pool::Sqlite(pool))
}

async fn open_server(location: &Location, url: &str) -> Result<Pool, StoreError> {
    let unusable = |reason: String| StoreError::Open {
        location: location.to_string(),
        reason,
        mend: "check that the server runs and that the URL's user may use the database".to_owned(),
    };
    let options = PgConnectOptions::from_str(url).map_err(|error| unusable(error.to_string()))?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(CONNECT_WAIT)
        .connect_with(options)
        .await
        .map_err(|error| unusable(error.to_string()))?;
    POSTGRES
        .run(&pool)
        .await
        .map_err(|error| migrate(location, &error))?;
    Ok(Pool::Postgres(pool))
}

fn migrate(location: &Location, error: &MigrateError) -> StoreError {
    StoreError::Migrate {
        location: location.to_string(),
        reason: error.to_string(),
    }
}
