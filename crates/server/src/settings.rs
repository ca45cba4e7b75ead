//! What an operator may set, with its defaults. Where a value comes from (flag, variable, file) is the command's
//! affair.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How the service runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Folder of job files.
    pub jobs_dir: PathBuf,
    /// Folder of the corpus.
    pub corpus_dir: PathBuf,
    /// Whether a key is needed; by default wherever other machines can connect.
    pub keys_required: bool,
    /// Host names, beside loopback's, under which browsers and MCP clients may address the service.
    pub hosts: Vec<String>,
    /// Limits.
    pub limits: Limits,
    /// Days that traces and ended jobs are kept; none keeps them for ever.
    pub retention_days: Option<u32>,
}

/// How much of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Requests at once, all callers together.
    pub requests: usize,
    /// Requests at once of one key (without keys: of one address).
    pub requests_per_key: usize,
    /// Questions being answered at once.
    pub answers: usize,
    /// Questions waiting beside them.
    pub answers_waiting: usize,
    /// Searches running at once; more wait for their turn within `search_timeout`.
    pub searches: usize,
    /// Bytes of a JSON body.
    pub body_bytes: usize,
    /// Bytes of an uploaded file.
    pub upload_bytes: u64,
    /// Hits of a search.
    pub passages: usize,
    /// Tokens that a chat completion may write.
    pub chat_tokens: usize,
    /// Until a request's header is there.
    pub header_timeout: Duration,
    /// Until a JSON body is there.
    pub body_timeout: Duration,
    /// For a search.
    pub search_timeout: Duration,
    /// Until a question gets its turn.
    pub queue_timeout: Duration,
    /// From a question's turn to its answer.
    pub answer_timeout: Duration,
    /// How long a finished answer can be resumed.
    pub replay: Duration,
    /// How long a shutdown waits for what is in hand.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 1_024,
            requests: 256,
            requests_per_key: 128,
            answers: 4,
            answers_waiting: 64,
            searches: 16,
            body_bytes: 1 << 20,
            upload_bytes: 512 << 20,
            passages: 100,
            chat_tokens: 4_096,
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(30),
            search_timeout: Duration::from_secs(10),
            queue_timeout: Duration::from_secs(300),
            answer_timeout: Duration::from_secs(600),
            replay: Duration::from_secs(600),
            drain: Duration::from_secs(20),
        }
    }
}

/// Whether only this machine can reach an address.
pub fn is_private(addr: IpAddr) -> bool {
    addr.is_loopback()
}
