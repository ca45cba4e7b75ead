//! The nouns of SEC filings that every other crate speaks in.
//!
//! Identifiers are newtypes parsed at the edge; everything here is plain data with serde, so that
//! an index, a trace and a test fixture all show the same shapes. Nothing here reads files.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::FilingsError;

/// A company's Central Index Key, SEC's own number for a filer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "0000320193"))]
pub struct Cik(pub u64);

impl fmt::Display for Cik {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}", self.0)
    }
}

impl FromStr for Cik {
    type Err = FilingsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim().trim_start_matches("CIK");
        match digits.parse::<u64>() {
            Ok(number) if digits.len() <= 10 && number > 0 => Ok(Cik(number)),
            _ => Err(FilingsError::identifier("CIK", text)),
        }
    }
}

impl TryFrom<String> for Cik {
    type Error = FilingsError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Cik> for String {
    fn from(cik: Cik) -> String {
        cik.to_string()
    }
}

/// An exchange symbol in upper case, e.g. `AAPL` or `BRK-B` (a dot becomes a hyphen).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "AAPL"))]
pub struct Ticker(String);

impl Ticker {
    /// The symbol's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Ticker {
    type Err = FilingsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let symbol = text.trim().to_ascii_uppercase().replace(['.', '/'], "-");
        let fits = (1..=10).contains(&symbol.len())
            && symbol
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && symbol.as_bytes()[0].is_ascii_alphanumeric();
        if fits {
            Ok(Ticker(symbol))
        } else {
            Err(FilingsError::identifier("ticker", text))
        }
    }
}

impl TryFrom<String> for Ticker {
    type Error = FilingsError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Ticker> for String {
    fn from(ticker: Ticker) -> String {
        ticker.0
    }
}

/// The five kinds of document the agent chooses among, in FinAgentBench's fixed index order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DocType {
    /// Proxy statement.
    #[serde(rename = "DEF14A")]
    Def14a,
    /// Annual report.
    #[serde(rename = "10-K")]
    TenK,
    /// Quarterly report.
    #[serde(rename = "10-Q")]
    TenQ,
    /// Current report, with the exhibits filed under it.
    #[serde(rename = "8-K")]
    EightK,
    /// Earnings call transcript or earnings release.
    #[serde(rename = "Earnings")]
    Earnings,
}

impl DocType {
    /// All five, in benchmark index order.
    pub const ALL: [DocType; 5] = [
        DocType::Def14a,
        DocType::TenK,
        DocType::TenQ,
        DocType::EightK,
        DocType::Earnings,
    ];

    /// The name as the benchmark writes it.
    pub fn name(self) -> &'static str {
        match self {
            DocType::Def14a => "DEF14A",
            DocType::TenK => "10-K",
            DocType::TenQ => "10-Q",
            DocType::EightK => "8-K",
            DocType::Earnings => "Earnings",
        }
    }

    /// The benchmark's index, 0 to 4.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DocType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DocType {
    type Err = FilingsError;

    /// Accepts every usual spelling: `DEF 14A`, `10K`, `10-K405`, `earnings`, `8-K/A`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Form::new(text)
            .doc_type()
            .ok_or_else(|| FilingsError::identifier("document type", text))
    }
}

/// The form as filed, normalised in case and spacing: `10-K`, `10-K/A`, `DEF 14A`, `EX-99.1`,
/// `EARNINGS CALL`. Unknown forms are kept as they are; they just have no [`DocType`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "10-K"))]
pub struct Form(String);

impl Form {
    /// Normalises `text` into a form name.
    pub fn new(text: &str) -> Form {
        let upper = text
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .to_ascii_uppercase();
        let name = match upper.as_str() {
            "10K" => "10-K".to_owned(),
            "10Q" => "10-Q".to_owned(),
            "8K" => "8-K".to_owned(),
            "DEF14A" | "DEF-14A" | "PROXY" => "DEF 14A".to_owned(),
            "EARNINGS" | "TRANSCRIPT" | "EARNINGS CALL TRANSCRIPT" => "EARNINGS CALL".to_owned(),
            _ => upper,
        };
        Form(name)
    }

    /// The normalised name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which of the five kinds this form belongs to; amendments and variants count as their kind.
    pub fn doc_type(&self) -> Option<DocType> {
        let base = self.0.strip_suffix("/A").unwrap_or(&self.0);
        match base {
            "10-K" | "10-K405" | "10-KSB" | "10-KT" | "10-K405T" | "20-F" | "ARS" => {
                Some(DocType::TenK)
            }
            "10-Q" | "10-QT" | "10-QSB" => Some(DocType::TenQ),
            "8-K" | "8-K12B" | "8-K12G3" | "6-K" => Some(DocType::EightK),
            "DEF 14A" | "DEFA14A" | "DEFM14A" | "PRE 14A" | "DEFC14A" => Some(DocType::Def14a),
            "EARNINGS CALL" | "EARNINGS RELEASE" => Some(DocType::Earnings),
            _ if base.starts_with("EX-99") => Some(DocType::EightK),
            _ => None,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Form {
    fn from(text: String) -> Form {
        Form::new(&text)
    }
}

impl From<Form> for String {
    fn from(form: Form) -> String {
        form.0
    }
}

/// A fiscal year, or one quarter of it, in the company's own calendar: `FY2022`, `2023Q2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FiscalPeriod {
    /// The company's fiscal year, e.g. 2022.
    pub year: u16,
    /// 1 to 4, or none for the whole year.
    pub quarter: Option<u8>,
}

impl FiscalPeriod {
    /// The whole fiscal year.
    pub fn year(year: u16) -> Self {
        FiscalPeriod {
            year,
            quarter: None,
        }
    }

    /// One quarter.
    pub fn quarter(year: u16, quarter: u8) -> Self {
        debug_assert!((1..=4).contains(&quarter));
        FiscalPeriod {
            year,
            quarter: Some(quarter),
        }
    }
}

impl fmt::Display for FiscalPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.quarter {
            Some(quarter) => write!(f, "{}Q{quarter}", self.year),
            None => write!(f, "FY{}", self.year),
        }
    }
}

impl FromStr for FiscalPeriod {
    type Err = FilingsError;

    /// Accepts `FY2022`, `2022`, `2023Q2`, `Q2 2023`, `2023-Q2`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper: String = text
            .chars()
            .filter(|c| c.is_ascii_alphanumeric())
            .collect::<String>()
            .to_uppercase();
        let error = || FilingsError::identifier("fiscal period", text);
        let year = |digits: &str| match digits.parse::<u16>() {
            Ok(year) if (1980..=2100).contains(&year) && digits.len() == 4 => Ok(year),
            _ => Err(error()),
        };
        let quarter = |digit: &str| match digit {
            "1" | "2" | "3" | "4" => Ok(digit.as_bytes()[0] - b'0'),
            _ => Err(error()),
        };
        if let Some(rest) = upper.strip_prefix('Q') {
            let (digit, digits) = rest.split_at_checked(1).ok_or_else(error)?;
            return Ok(FiscalPeriod::quarter(year(digits)?, quarter(digit)?));
        }
        if let Some((digits, digit)) = upper.split_once('Q') {
            let digits = digits.strip_prefix("FY").unwrap_or(digits);
            return Ok(FiscalPeriod::quarter(year(digits)?, quarter(digit)?));
        }
        Ok(FiscalPeriod::year(year(
            upper.strip_prefix("FY").unwrap_or(&upper),
        )?))
    }
}

impl TryFrom<String> for FiscalPeriod {
    type Error = FilingsError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FiscalPeriod> for String {
    fn from(period: FiscalPeriod) -> String {
        period.to_string()
    }
}

/// The stable name of a filing in the corpus: SEC's accession number (`0000320193-23-000106`, with
/// `/exhibit` behind it for an exhibit) where it is known, else the document's own name
/// (`AMD_2022_10K`), which is all a page corpus or a transcript has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "0000320193-23-000106"))]
pub struct Accession(String);

impl Accession {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Accession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Accession {
    type Err = FilingsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim();
        let fits = (1..=128).contains(&name.len())
            && name.bytes().all(|b| {
                b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b'&')
            })
            && !name.contains("..")
            && !name.starts_with('/');
        if fits {
            Ok(Accession(name.to_owned()))
        } else {
            Err(FilingsError::identifier("accession", text))
        }
    }
}

impl TryFrom<String> for Accession {
    type Error = FilingsError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Accession> for String {
    fn from(accession: Accession) -> String {
        accession.0
    }
}

/// Half-open range of byte offsets into a filing's normalised text (UTF-8, always on character
/// boundaries). The same input bytes give the same spans in every version of one reader format.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// `start..end`.
    pub fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end);
        Span { start, end }
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// Whether nothing lies inside.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether `other` lies wholly inside.
    pub fn contains(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The text inside, or nothing where the span does not fit `text`.
    pub fn of(self, text: &str) -> Option<&str> {
        text.get(self.start..self.end)
    }
}

/// What is known of a filing besides its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FilingMeta {
    /// Its name in the corpus.
    pub accession: Accession,
    /// Company name as the filing or the manifest writes it.
    pub company: Option<String>,
    /// Exchange symbol.
    pub ticker: Option<Ticker>,
    /// SEC's filer number.
    pub cik: Option<Cik>,
    /// Form as filed.
    pub form: Form,
    /// Which of the five kinds, if any.
    pub doc_type: Option<DocType>,
    /// Fiscal year or quarter covered, in the company's own calendar.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "FY2024"))]
    pub fiscal_period: Option<FiscalPeriod>,
    /// Last day covered; for an 8-K the day of the event, for a call the day of the call.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = Date))]
    pub period_end: Option<Date>,
    /// Day of filing.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = Date))]
    pub filed: Option<Date>,
    /// The file or URL it was read from.
    pub source: String,
    /// SHA-256 of the unpacked bytes, hex; of all its records for a page corpus document.
    pub sha256: String,
}

/// What a block of normalised text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockKind {
    /// Running text.
    Paragraph,
    /// A line set apart as a heading: by tag, or by weight, case, size or centring.
    Heading,
    /// One item of a list.
    ListItem,
    /// A table, one text line a row, cells parted by ` | `.
    Table,
    /// The place of a page break, with the printed page number or running header if there was one.
    PageBreak,
    /// The line that names the speaker of the turn below it (transcripts).
    Speaker,
}

/// How a heading candidate looked, for the sectioner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Style {
    /// All of its visible text is bold.
    pub bold: bool,
    /// All of it is italic.
    pub italic: bool,
    /// All of it is underlined.
    pub underlined: bool,
    /// It is centred.
    pub centered: bool,
    /// Font size in points, where stated.
    pub size_pt: Option<f32>,
    /// Heading level of an `h1`…`h6` tag.
    pub tag_level: Option<u8>,
    /// It holds a link to a place inside the same document (a table of contents does).
    pub internal_link: bool,
    /// It is the target of such a link (a section's true place often is).
    pub anchor_target: bool,
}

/// A run of normalised text with one role; blocks are in order, do not overlap, and are parted by
/// newlines that belong to none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Its role.
    pub kind: BlockKind,
    /// Where it stands.
    pub span: Span,
    /// How it looked.
    pub style: Style,
}

/// A part of a filing with a name of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Section {
    /// Canonical identifier: `Item 7` (10-K), `Part II Item 1A` (10-Q), `Item 2.02` (8-K), the
    /// heading itself elsewhere.
    pub id: String,
    /// The heading as it stands in the filing.
    pub title: String,
    /// 1 for parts and items, deeper for headings inside them.
    pub level: u8,
    /// Identifiers from the outermost section down to this one.
    pub path: Vec<String>,
    /// From its heading to the next section of the same or a higher level.
    pub span: Span,
    /// 0 to 1: how sure the sectioner is that this is the true place of the section.
    pub confidence: f32,
}

/// What a fact says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FactValue {
    /// A number with scale and sign applied.
    Number(Decimal),
    /// Text of an `ix:nonNumeric` fact, continuations joined.
    Text(String),
    /// Text too long to be stored twice (a note's text block): the places in the normalised text
    /// where its parts stand, in reading order.
    LongText(Vec<Span>),
    /// `xsi:nil`.
    Nil,
}

/// The time a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FactPeriod {
    /// A moment: the end of this day.
    Instant(Date),
    /// A stretch of time, both days inside it.
    Duration(Date, Date),
    /// No time stated.
    Forever,
}

/// An inline-XBRL fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// Qualified concept, e.g. `us-gaap:Revenues`.
    pub concept: String,
    /// What it says.
    pub value: FactValue,
    /// `USD`, `shares`, `USD/shares`, `pure`; none for text.
    pub unit: Option<String>,
    /// XBRL `decimals`; none for `INF` and for text.
    pub decimals: Option<i32>,
    /// When.
    pub period: FactPeriod,
    /// Axis and member pairs of the context, as qualified names (typed members as their text).
    pub dimensions: Vec<(String, String)>,
    /// Where it stands in the normalised text; empty at its place when it shows nothing.
    pub span: Span,
    /// Whether it stands in the visible text (not in `ix:hidden`).
    pub visible: bool,
}

/// A page of a page corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Page number as the corpus counts, usually from 0.
    pub number: u32,
    /// Its text.
    pub span: Span,
}

/// A speaker of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who speaks, as the transcript writes it; none where it names nobody.
    pub speaker: Option<String>,
    /// Title or role, where stated.
    pub role: Option<String>,
    /// What was said.
    pub span: Span,
}

/// A filing read whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Filing {
    /// What is known of it.
    pub meta: FilingMeta,
    /// Normalised text: UTF-8, `\n` line ends, no tabs or no-break spaces, no blank-line runs.
    pub text: String,
    /// The text's structure.
    pub blocks: Vec<Block>,
    /// Its sections in order; nested ones follow their parent.
    pub sections: Vec<Section>,
    /// Its inline-XBRL facts in document order.
    pub facts: Vec<Fact>,
    /// Its pages, for page corpora only.
    pub pages: Vec<Page>,
    /// Its speaker turns, for transcripts only.
    pub turns: Vec<Turn>,
}

/// The stable name of a passage: `ACCESSION#START-END` in bytes of the filing's normalised text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "0000320193-23-000106#1000-2000"))]
pub struct PassageId(pub String);

impl PassageId {
    /// The id of the passage of `accession` at `span`.
    pub fn new(accession: &Accession, span: Span) -> PassageId {
        PassageId(format!("{accession}#{}-{}", span.start, span.end))
    }

    /// The filing and the span it names, or nothing where the text is no passage id.
    pub fn parts(&self) -> Option<(Accession, Span)> {
        let (accession, range) = self.0.rsplit_once('#')?;
        let (start, end) = range.split_once('-')?;
        let (start, end) = (start.parse().ok()?, end.parse().ok()?);
        (start <= end).then_some(())?;
        Some((accession.parse().ok()?, Span { start, end }))
    }
}

impl fmt::Display for PassageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a passage mostly holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PassageKind {
    /// Running text.
    Prose,
    /// Rows of one table, with its caption, scale and column heads above them.
    Table,
    /// What one speaker said.
    Speech,
    /// A page of a page corpus, or part of one.
    Page,
}

/// A retrievable piece of a filing: at most 512 tokens of the default tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Passage {
    /// Its stable name.
    pub id: PassageId,
    /// The filing it belongs to.
    pub accession: Accession,
    /// Identifiers (and the innermost headings) of the sections around it, outermost first.
    pub section_path: Vec<String>,
    /// Where its own text stands in the filing's normalised text.
    pub span: Span,
    /// What it mostly holds.
    pub kind: PassageKind,
    /// The page, for page corpora.
    pub page: Option<u32>,
    /// Lines repeated from above so that the passage can be read alone (a table's caption, scale
    /// and column heads when the table was cut; the speaker); not part of `span`, may be empty.
    pub lead: String,
    /// `filing.text[span]`, so that a passage needs no filing beside it.
    pub text: String,
}
