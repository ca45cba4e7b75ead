//! Filings from SEC EDGAR: tickers and forms in, documents and a manifest on disk out.
//!
//! [`fetch`] is the one way in. It keeps SEC's fair-access rules (a contact in every request, at
//! most ten requests a second), goes on where an earlier run stopped, and names every item that
//! failed. It must not know how filings are read; it stores bytes as EDGAR sends them.
//!
//! Documents are fetched one after another: with SEC's limit in force, more connections would only
//! wait for each other.

mod http;
mod listing;
mod pace;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Date;
use serde_json::{Value, json};

pub use http::{USER_AGENT_VARIABLE, check_user_agent};
pub use pace::{Clock, INTERVAL, Pacer};

use crate::companies::{self, Company};
use crate::{Accession, Cik, DocType, FilingsError, Form, Ticker};
use http::{Client, Failure, edgar_error};
use listing::{Exhibit, Listed, is_file_name};
use shelf::{Held, Shelf};

/// The largest listing that is read: SEC's ticker file is about 1 MB, submissions pages below 10.
const MOST_LISTING_BYTES: u64 = 64 * 1024 * 1024;
/// The largest document that is fetched. The largest 10-Ks are about 60 MB.
const MOST_DOCUMENT_BYTES: u64 = 200 * 1024 * 1024;

/// The servers to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// For the ticker file and the archives; no slash at the end.
    pub www: String,
    /// For the submissions pages; no slash at the end.
    pub data: String,
}

impl Default for Endpoints {
    fn default() -> Self {
        Endpoints {
            www: "https://www.sec.gov".to_owned(),
            data: "https://data.sec.gov".to_owned(),
        }
    }
}

/// What to fetch, from where, to where.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// Tickers, or filer numbers as `CIK0000320193`.
    pub companies: Vec<String>,
    /// Forms as filed: `10-K`, `10-Q`, `8-K`, `DEF 14A`. Amendments are forms of their own
    /// (`10-K/A`). With `8-K` come its exhibits 99.
    pub forms: Vec<Form>,
    /// First day of filing.
    pub since: Date,
    /// The folder to fetch into.
    pub dir: PathBuf,
    /// The contact that SEC demands; see [`check_user_agent`].
    pub user_agent: Option<String>,
    /// The servers.
    pub endpoints: Endpoints,
    /// Companies whose numbers are known already; others are looked up in SEC's ticker file.
    pub known: &'static [Company],
}

impl FetchRequest {
    /// A request to SEC itself, with the S&P 500 as known companies.
    pub fn new(companies: Vec<String>, forms: Vec<Form>, since: Date, dir: PathBuf) -> Self {
        FetchRequest {
            companies,
            forms,
            since,
            dir,
            user_agent: None,
            endpoints: Endpoints::default(),
            known: companies::sp500(),
        }
    }
}

/// What is happening, for a progress bar or a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// A company's list of filings is being read.
    Listing {
        /// As asked for.
        company: String,
    },
    /// All lists are read: so many main documents match.
    Planned {
        /// Filings, exhibits not counted.
        filings: usize,
    },
    /// A filing's turn has come.
    Filing {
        /// Counting from 1.
        number: usize,
        /// As in [`Progress::Planned`].
        of: usize,
        /// Ticker, form and day.
        name: String,
    },
    /// A document was fetched.
    Fetched {
        /// Path below the folder.
        file: String,
        /// Its size.
        bytes: u64,
    },
    /// A document was there already.
    AlreadyThere {
        /// Path below the folder.
        file: String,
    },
    /// The server asked for patience, or failed.
    Waiting {
        /// What was asked for.
        url: String,
        /// How long.
        wait: Duration,
        /// Why.
        reason: String,
    },
    /// An item failed; the others go on.
    Failed {
        /// The company or document.
        item: String,
        /// Why, and the mend.
        error: String,
    },
}

/// An item that could not be fetched.
#[derive(Debug)]
pub struct FailedItem {
    /// The company or document.
    pub item: String,
    /// Why, and the mend.
    pub error: FilingsError,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct FetchReport {
    /// Paths below the folder, in the order of fetching.
    pub fetched: Vec<String>,
    /// Documents that were there already.
    pub already_there: usize,
    /// Bytes fetched.
    pub bytes: u64,
    /// Everything that failed; each can be tried again by the same command.
    pub failed: Vec<FailedItem>,
    /// Rows of listings that could not be used, and guesses that were made, one sentence each.
    pub doubts: Vec<String>,
}

/// A filing to fetch.
struct Planned {
    cik: Cik,
    company: String,
    ticker: Option<Ticker>,
    sector: Option<String>,
    listed: Listed,
}

impl Planned {
    /// Folder below the shelf's root.
    fn folder(&self) -> String {
        format!("{}/{}", self.cik, self.listed.accession)
    }

    fn url(&self, endpoints: &Endpoints, file: &str) -> String {
        format!(
            "{}/Archives/edgar/data/{}/{}/{file}",
            endpoints.www,
            self.cik.0,
            self.listed.accession.replace('-', "")
        )
    }

    fn name(&self) -> String {
        let who = match &self.ticker {
            Some(ticker) => ticker.to_string(),
            None => format!("CIK{}", self.cik),
        };
        format!("{who} {} of {}", self.listed.form, self.listed.filed)
    }
}

/// Reads the first day of `--since`: `2022`, `2022-06` or `2022-06-30`.
///
/// # Errors
/// Where `text` is none of the three.
pub fn parse_since(text: &str) -> Result<Date, FilingsError> {
    let full = match text.trim().len() {
        4 => format!("{}-01-01", text.trim()),
        7 => format!("{}-01", text.trim()),
        _ => text.trim().to_owned(),
    };
    full.parse::<Date>()
        .map_err(|_| FilingsError::identifier("first day (2022, 2022-06 or 2022-06-30)", text))
}

/// Fetches what `request` asks for, at SEC's pace. Calls `progress` as things happen.
///
/// # Errors
/// Only where nothing at all can be done: no contact, nothing asked for, no folder. Everything
/// else that fails is named in the report.
pub fn fetch(
    request: &FetchRequest,
    progress: &mut dyn FnMut(Progress),
) -> Result<FetchReport, FilingsError> {
    fetch_at(request, &Pacer::shared(), progress)
}

/// [`fetch`] at a pace of one's own, for tests and mirrors.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_at(
    request: &FetchRequest,
    pacer: &Pacer,
    progress: &mut dyn FnMut(Progress),
) -> Result<FetchReport, FilingsError> {
    let user_agent = check_user_agent(request.user_agent.as_deref())?;
    if request.companies.is_empty() || request.forms.is_empty() {
        return Err(FilingsError::Unreadable {
            path: "corpus get".to_owned(),
            reason: "no company or no form is asked for".to_owned(),
            mend: "pass --ticker AAPL,MSFT --forms 10-K,10-Q,8-K,DEF14A".to_owned(),
        });
    }
    let secure = request.endpoints.www.starts_with("https://");
    let mut run = Run {
        request,
        client: Client::new(&user_agent, pacer.clone(), secure),
        shelf: Shelf::open(&request.dir)?,
        report: FetchReport::default(),
        refused: None,
        progress,
    };
    let planned = run.plan();
    (run.progress)(Progress::Planned {
        filings: planned.len(),
    });
    for (at, filing) in planned.iter().enumerate() {
        (run.progress)(Progress::Filing {
            number: at + 1,
            of: planned.len(),
            name: filing.name(),
        });
        run.filing(filing);
    }
    Ok(run.report)
}

struct Run<'a> {
    request: &'a FetchRequest,
    client: Client,
    shelf: Shelf,
    report: FetchReport,
    /// Why SEC refuses this client: nothing more is asked for.
    refused: Option<String>,
    progress: &'a mut dyn FnMut(Progress),
}

impl Run<'_> {
    fn get(&mut self, url: &str, limit: u64) -> Result<Vec<u8>, FilingsError> {
        if let Some(reason) = &self.refused {
            return Err(edgar_error(
                url,
                format!("not tried, because {reason}"),
                "mend that, then run the same command again",
            ));
        }
        let progress = &mut *self.progress;
        let mut on_wait = |url: &str, wait: Duration, reason: &str| {
            progress(Progress::Waiting {
                url: url.to_owned(),
                wait,
                reason: reason.to_owned(),
            });
        };
        self.client
            .get(url, limit, &mut on_wait)
            .map_err(|failure| {
                if let Failure::Refused(FilingsError::Edgar { reason, .. }) = &failure {
                    self.refused = Some(reason.clone());
                }
                failure.into_error()
            })
    }

    fn fail(&mut self, item: String, error: FilingsError) {
        (self.progress)(Progress::Failed {
            item: item.clone(),
            error: error.to_string(),
        });
        self.report.failed.push(FailedItem { item, error });
    }

    /// The filings that match, company by company, newest first.
    fn plan(&mut self) -> Vec<Planned> {
        let mut planned = Vec::new();
        let mut seen = BTreeSet::new();
        let mut table = None;
        for asked in &self.request.companies {
            (self.progress)(Progress::Listing {
                company: asked.clone(),
            });
            let found = match self.resolve(asked, &mut table) {
                Ok((cik, ticker)) if seen.insert(cik) => self.list(cik, ticker),
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            match found {
                Ok(filings) => planned.extend(filings),
                Err(error) => self.fail(asked.clone(), error),
            }
        }
        planned
    }

    /// The filer number behind a ticker: known companies first, then SEC's file, read once.
    fn resolve(
        &mut self,
        asked: &str,
        table: &mut Option<BTreeMap<String, Cik>>,
    ) -> Result<(Cik, Option<Ticker>), FilingsError> {
        let digits = asked.trim().trim_start_matches("CIK");
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            return Ok((digits.parse()?, None));
        }
        let ticker: Ticker = asked.parse()?;
        let known = self
            .request
            .known
            .iter()
            .find(|known| known.ticker == ticker);
        if let Some(known) = known {
            return Ok((known.cik, Some(ticker)));
        }
        let url = format!("{}/files/company_tickers.json", self.request.endpoints.www);
        let table = match table {
            Some(table) => table,
            None => {
                let body = self.get(&url, MOST_LISTING_BYTES)?;
                table.insert(listing::tickers(&url, &body)?)
            }
        };
        match table.get(ticker.as_str()) {
            Some(cik) => Ok((*cik, Some(ticker))),
            None => Err(edgar_error(
                &url,
                format!("SEC knows no ticker {ticker}"),
                "check the symbol, or give the filer number as CIK0000320193",
            )),
        }
    }

    fn list(&mut self, cik: Cik, ticker: Option<Ticker>) -> Result<Vec<Planned>, FilingsError> {
        let data = self.request.endpoints.data.clone();
        let since = self.request.since;
        let url = format!("{data}/submissions/CIK{cik}.json");
        let body = self.get(&url, MOST_LISTING_BYTES)?;
        let page = listing::submissions(&url, &body, since)?;
        if page.cik != cik {
            return Err(edgar_error(
                &url,
                format!("it is about CIK{} instead", page.cik),
                "check the filer number",
            ));
        }
        self.report.doubts.extend(page.doubts);
        let mut rows = page.recent;
        for name in page.older {
            let url = format!("{data}/submissions/{name}");
            let older = self
                .get(&url, MOST_LISTING_BYTES)
                .and_then(|body| listing::older_page(&url, &body));
            match older {
                Ok((more, doubts)) => {
                    rows.extend(more);
                    self.report.doubts.extend(doubts);
                }
                // The filings of the other pages are still worth having.
                Err(error) => self.fail(format!("older filings of CIK{cik}"), error),
            }
        }
        let known = self.request.known.iter().find(|known| known.cik == cik);
        let sector = known.map(|known| known.sector.clone()).or(page.industry);
        let ticker = ticker.or_else(|| known.map(|known| known.ticker.clone()));
        let mut accessions = BTreeSet::new();
        Ok(rows
            .into_iter()
            .filter(|row| row.filed >= since && self.request.forms.contains(&row.form))
            // A filing on the edge of two pages can stand on both.
            .filter(|row| accessions.insert(row.accession.clone()))
            .map(|listed| Planned {
                cik,
                company: page.name.clone(),
                ticker: ticker.clone(),
                sector: sector.clone(),
                listed,
            })
            .collect())
    }

    fn filing(&mut self, filing: &Planned) {
        let primary = filing.listed.primary.clone();
        if is_file_name(&primary) {
            let form = filing.listed.form.clone();
            self.document(filing, &form, &primary, true);
        } else {
            let error = edgar_error(
                &filing.url(&self.request.endpoints, ""),
                format!("EDGAR lists no usable main document ({primary:?})"),
                "fetch the full submission text by hand",
            );
            self.fail(filing.name(), error);
        }
        if filing.listed.form.doc_type() != Some(DocType::EightK) {
            return;
        }
        match self.exhibits(filing) {
            Ok(exhibits) => {
                for exhibit in exhibits {
                    self.document(filing, &Form::new(&exhibit.form), &exhibit.file, false);
                }
            }
            Err(error) => self.fail(format!("exhibits of {}", filing.name()), error),
        }
    }

    /// The exhibits 99 of a filing, from what an earlier run noted, the index page, or its names.
    fn exhibits(&mut self, filing: &Planned) -> Result<Vec<Exhibit>, FilingsError> {
        let folder = filing.folder();
        if let Some(exhibits) = self.shelf.exhibits(&folder) {
            return Ok(exhibits);
        }
        let page = format!("{}-index.htm", filing.listed.accession);
        let url = filing.url(&self.request.endpoints, &page);
        let exhibits = self
            .get(&url, MOST_LISTING_BYTES)
            .and_then(|body| listing::exhibits_of_page(&url, &body));
        let exhibits = match exhibits {
            Ok(exhibits) => exhibits,
            Err(error) if self.refused.is_some() => return Err(error),
            Err(error) => {
                let url = filing.url(&self.request.endpoints, "index.json");
                let body = self.get(&url, MOST_LISTING_BYTES)?;
                let exhibits = listing::exhibits_of_directory(&url, &body)?;
                self.report.doubts.push(format!(
                    "{error}: the exhibits of {} were guessed from their file names",
                    filing.name()
                ));
                exhibits
            }
        };
        self.shelf.put_exhibits(&folder, &exhibits)?;
        Ok(exhibits)
    }

    /// Fetches one document unless it is there, and lists it.
    fn document(&mut self, filing: &Planned, form: &Form, name: &str, main: bool) {
        let file = format!("{}/{name}", filing.folder());
        if self.shelf.size_of_listed(&file).is_some() {
            self.report.already_there += 1;
            (self.progress)(Progress::AlreadyThere { file });
            return;
        }
        if let Err(error) = self.place(filing, form, name, main, &file) {
            self.fail(format!("{} ({name})", filing.name()), error);
        }
    }

    fn place(
        &mut self,
        filing: &Planned,
        form: &Form,
        name: &str,
        main: bool,
        file: &str,
    ) -> Result<(), FilingsError> {
        let url = filing.url(&self.request.endpoints, name);
        let held = match self.shelf.unlisted(file)? {
            Some(held) => {
                self.report.already_there += 1;
                (self.progress)(Progress::AlreadyThere {
                    file: file.to_owned(),
                });
                held
            }
            None => {
                let body = self.get(&url, MOST_DOCUMENT_BYTES)?;
                let held = self.shelf.put(file, &body)?;
                self.report.fetched.push(file.to_owned());
                self.report.bytes += held.bytes;
                (self.progress)(Progress::Fetched {
                    file: file.to_owned(),
                    bytes: held.bytes,
                });
                held
            }
        };
        let record = record(filing, form, name, main, file, &url, &held)?;
        self.shelf.list(file, held.bytes, &record)
    }
}

/// A manifest line. Fiscal year and period stay open: the document's own cover says them better
/// than a date can.
fn record(
    filing: &Planned,
    form: &Form,
    name: &str,
    main: bool,
    file: &str,
    url: &str,
    held: &Held,
) -> Result<Value, FilingsError> {
    let accession = if main {
        filing.listed.accession.clone()
    } else {
        format!("{}/{name}", filing.listed.accession)
    };
    let accession: Accession = accession.parse()?;
    // For a proxy statement EDGAR's report date is the day of the meeting, not a period covered.
    let period_end = match form.doc_type() {
        Some(DocType::Def14a) => None,
        _ => filing.listed.report.map(|day| day.to_string()),
    };
    Ok(json!({
        "file": file,
        "form": form.as_str(),
        "company": filing.company,
        "ticker": filing.ticker.as_ref().map(Ticker::as_str),
        "cik": filing.cik.to_string(),
        "fiscal_year": null,
        "period_end": period_end,
        "sector": filing.sector,
        "inline_xbrl": main && filing.listed.inline_xbrl,
        "gold": false,
        "source": "SEC EDGAR",
        "source_file": name,
        "bytes": held.bytes,
        "sha256": held.sha256,
        "accession": accession.as_str(),
        "filed": filing.listed.filed.to_string(),
        "url": url,
    }))
}
