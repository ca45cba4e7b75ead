//! One polite HTTP client for EDGAR: contact in every request, the shared pace, retries that honour
//! `Retry-After`, bounded bodies, and SEC's refusals put into words.
//!
//! Knows status codes and headers; must not know what the bodies mean.

use std::time::Duration;

use jiff::Timestamp;
use ureq::Agent;

use super::pace::Pacer;
use crate::FilingsError;

/// Requests for one address before it is given up.
const ATTEMPTS: u32 = 5;
/// The longest single wait between two attempts; SEC's own lock-out lasts ten minutes.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// What is read of an error page to explain it.
const ERROR_PAGE_BYTES: u64 = 64 * 1024;

/// How the variable that holds the contact is called.
pub const USER_AGENT_VARIABLE: &str = "FOOTNOTE_EDGAR_USER_AGENT";

/// Why a request failed in the end.
#[derive(Debug)]
pub(super) enum Failure {
    /// Only this address: not found, too large, cut short.
    Item(FilingsError),
    /// SEC refuses this client: asking for anything else would only make it worse.
    Refused(FilingsError),
}

impl Failure {
    pub(super) fn into_error(self) -> FilingsError {
        match self {
            Failure::Item(error) | Failure::Refused(error) => error,
        }
    }
}

/// Checks the contact that SEC demands of automated clients.
///
/// # Errors
/// Says how to set it where it is missing, and what is wrong with it where it is no contact.
pub fn check_user_agent(given: Option<&str>) -> Result<String, FilingsError> {
    let mend = format!(
        "SEC demands a contact of every automated client: pass --user-agent \"NAME name@example.com\", or \
         set {USER_AGENT_VARIABLE} or edgar.user_agent in the configuration"
    );
    let error = |reason: &str| FilingsError::Edgar {
        url: "User-Agent".to_owned(),
        reason: reason.to_owned(),
        mend: mend.clone(),
    };
    let text = given.map(str::trim).unwrap_or_default();
    if text.is_empty() {
        return Err(error("no contact is set"));
    }
    let (before, after) = text.split_once('@').unwrap_or_default();
    let mail = before.chars().last().is_some_and(|c| !c.is_whitespace())
        && after
            .split(char::is_whitespace)
            .next()
            .is_some_and(|host| host.contains('.'));
    if !mail {
        return Err(error("it holds no mail address"));
    }
    if text.len() > 256 || !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(error(
            "it must be at most 256 plain ASCII characters on one line",
        ));
    }
    Ok(text.to_owned())
}

/// The client.
pub(super) struct Client {
    agent: Agent,
    pacer: Pacer,
}

/// What the caller is told while the client waits.
pub(super) type OnWait<'a> = &'a mut dyn FnMut(&str, Duration, &str);

impl Client {
    /// A client that names `user_agent`. Proxies of the environment are used for `https` only:
    /// a plain-`http` base is a server on this machine.
    pub(super) fn new(user_agent: &str, pacer: Pacer, use_proxy: bool) -> Client {
        let mut builder = Agent::config_builder()
            .user_agent(user_agent)
            .http_status_as_error(false)
            // SEC answers these addresses directly, and a redirect would escape the pace.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_global(Some(Duration::from_secs(300)));
        if !use_proxy {
            builder = builder.proxy(None);
        }
        Client {
            agent: builder.build().new_agent(),
            pacer,
        }
    }

    /// The body of `url`, at most `limit` bytes after unpacking.
    pub(super) fn get(
        &self,
        url: &str,
        limit: u64,
        on_wait: OnWait<'_>,
    ) -> Result<Vec<u8>, Failure> {
        let mut attempt = 1;
        loop {
            let (reason, wait) = match self.once(url, limit) {
                Ok(body) => return Ok(body),
                Err(Outcome::Final(failure)) => return Err(failure),
                Err(Outcome::Again(reason, wait)) => (reason, wait),
            };
            if attempt == ATTEMPTS {
                return Err(Failure::Item(edgar_error(
                    url,
                    format!("{reason}, {ATTEMPTS} times"),
                    "run the same command again later: it goes on where it stopped",
                )));
            }
            // One second, then two, four, …, unless the server said how long.
            let wait = wait
                .unwrap_or(Duration::from_secs(1 << (attempt - 1)))
                .min(LONGEST_WAIT);
            on_wait(url, wait, &reason);
            self.pacer.pause(wait);
            attempt += 1;
        }
    }

    fn once(&self, url: &str, limit: u64) -> Result<Vec<u8>, Outcome> {
        self.pacer.turn();
        let mut response = match self.agent.get(url).call() {
            Ok(response) => response,
            Err(error) => return Err(transport(url, &error)),
        };
        let status = response.status().as_u16();
        if status == 200 {
            let read = response.body_mut().with_config().limit(limit).read_to_vec();
            return match read {
                Ok(body) if body.is_empty() => {
                    Err(Outcome::Again("the answer was empty".to_owned(), None))
                }
                Ok(body) => Ok(body),
                Err(ureq::Error::BodyExceedsLimit(_)) => {
                    Err(Outcome::Final(Failure::Item(edgar_error(
                        url,
                        format!("larger than {limit} bytes"),
                        "fetch it by hand if it is wanted",
                    ))))
                }
                Err(error) => Err(Outcome::Again(
                    format!("the answer was cut short ({error})"),
                    None,
                )),
            };
        }
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(retry_after);
        let page = response
            .body_mut()
            .with_config()
            .limit(ERROR_PAGE_BYTES)
            .lossy_utf8(true)
            .read_to_string()
            .unwrap_or_default();
        Err(refusal(url, status, retry_after, &page))
    }
}

enum Outcome {
    /// Asking again may help, after so long if the server said so.
    Again(String, Option<Duration>),
    Final(Failure),
}

fn refusal(url: &str, status: u16, retry_after: Option<Duration>, page: &str) -> Outcome {
    match status {
        429 | 500 | 502 | 503 | 504 => Outcome::Again(format!("status {status}"), retry_after),
        // SEC answers 403 both to clients without a contact and to those that asked too often.
        403 if page.contains("Request Rate Threshold") => {
            Outcome::Final(Failure::Refused(edgar_error(
                url,
                "SEC has shut this address out for asking too often (status 403)".to_owned(),
                "wait ten minutes without any request, then run the same command again",
            )))
        }
        403 => Outcome::Final(Failure::Refused(edgar_error(
            url,
            "SEC refuses without a contact User-Agent (status 403)".to_owned(),
            &format!(
                "set {USER_AGENT_VARIABLE} to your name and mail address; if it is set, SEC may have blocked \
                 this network"
            ),
        ))),
        404 => Outcome::Final(Failure::Item(edgar_error(
            url,
            "not found (status 404)".to_owned(),
            "EDGAR does not have it under this address",
        ))),
        _ => Outcome::Final(Failure::Item(edgar_error(
            url,
            format!("unexpected status {status}"),
            "look at the address in a browser",
        ))),
    }
}

fn transport(url: &str, error: &ureq::Error) -> Outcome {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            Outcome::Final(Failure::Item(edgar_error(
                url,
                format!("no address that can be asked ({error})"),
                "check the base addresses",
            )))
        }
        ureq::Error::HostNotFound => Outcome::Final(Failure::Refused(edgar_error(
            url,
            "the host is not known".to_owned(),
            "check the network connection",
        ))),
        _ => Outcome::Again(format!("no answer ({error})"), None),
    }
}

/// `Retry-After` as seconds or as an HTTP date.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
    let seconds = moment.as_second() - Timestamp::now().as_second();
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

pub(super) fn edgar_error(url: &str, reason: String, mend: &str) -> FilingsError {
    FilingsError::Edgar {
        url: url.to_owned(),
        reason,
        mend: mend.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts() {
        for good in [
            "Jane Doe jane@example.com",
            "jane@example.com",
            "Example Research (ops@example.com)",
        ] {
            assert_eq!(check_user_agent(Some(good)).unwrap(), good);
        }
        for (bad, reason) in [
            (None, "no contact is set"),
            (Some("  "), "no contact is set"),
            (Some("Mozilla/5.0"), "no mail address"),
            (Some("me @ home"), "no mail address"),
            (Some("jane@example.com\r\nX: y"), "plain ASCII"),
        ] {
            let error = check_user_agent(bad).unwrap_err().to_string();
            assert!(error.contains(reason), "{bad:?}: {error}");
            assert!(error.contains(USER_AGENT_VARIABLE), "{error}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        let soon = Timestamp::now() + jiff::SignedDuration::from_secs(3600);
        let date = soon
            .to_zoned(jiff::tz::TimeZone::UTC)
            .strftime("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        let wait = retry_after(&date).unwrap();
        assert!(
            (3590..=3600).contains(&wait.as_secs()),
            "{date} gave {wait:?}"
        );
        assert_eq!(retry_after("soon"), None);
        assert_eq!(retry_after("Thu, 01 Jan 1998 00:00:00 GMT"), None);
    }
}
