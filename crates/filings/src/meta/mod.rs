//! What a filing is: company, form, period, name in the corpus; from the manifest, the submission's
//! header, the `dei:` facts and the cover page, in that order.
//!
//! A value that two sources state differently is a warning, and the earlier source wins. Must not know
//! how any of the sources is read from disk.

mod cover;
mod name;

use jiff::civil::Date;

use crate::input::submission;
use crate::manifest::{ManifestEntry, accession_in};
use crate::types::{Accession, Cik, Fact, FactValue, FilingMeta, FiscalPeriod, Form, Ticker};
use crate::{Warning, WarningCode};

pub(crate) use cover::dates;
pub(crate) use name::{form_in_name, hex, slug};

/// What one source says of a filing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) accession: Option<Accession>,
    pub(crate) company: Option<String>,
    pub(crate) ticker: Option<Ticker>,
    pub(crate) cik: Option<Cik>,
    pub(crate) form: Option<Form>,
    pub(crate) fiscal_period: Option<FiscalPeriod>,
    /// The year where the quarter is not stated.
    pub(crate) fiscal_year: Option<u16>,
    pub(crate) period_end: Option<Date>,
    pub(crate) filed: Option<Date>,
}

impl From<&submission::Header> for Known {
    fn from(header: &submission::Header) -> Known {
        Known {
            accession: header.accession.clone(),
            company: header.company.clone(),
            cik: header.cik,
            form: header.form.clone(),
            period_end: header.period_end,
            filed: header.filed,
            ..Known::default()
        }
    }
}

impl From<&ManifestEntry> for Known {
    fn from(entry: &ManifestEntry) -> Known {
        Known {
            accession: entry.accession.clone(),
            company: entry.company.clone(),
            ticker: entry.ticker.clone(),
            cik: entry.cik,
            form: entry
                .form
                .clone()
                .or_else(|| entry.is_call.then(|| Form::new("EARNINGS CALL"))),
            fiscal_period: entry.fiscal_period,
            fiscal_year: entry.fiscal_year,
            period_end: entry.period_end,
            filed: entry.filed,
        }
    }
}

impl From<&crate::transcript::Header> for Known {
    fn from(header: &crate::transcript::Header) -> Known {
        Known {
            company: header.company.clone(),
            ticker: header.ticker.clone(),
            form: Some(Form::new("EARNINGS CALL")),
            fiscal_period: header.fiscal_period,
            period_end: header.date,
            ..Known::default()
        }
    }
}

/// What the `dei:` facts of an inline-XBRL filing say.
pub(crate) fn from_facts(facts: &[Fact]) -> Known {
    // The first statement of each concept is the filer's own; subsidiaries and further share classes
    // follow, with dimensions.
    let text = |concept: &str| {
        facts
            .iter()
            .filter(|fact| fact.concept == concept)
            .min_by_key(|fact| fact.dimensions.len())
            .and_then(|fact| match &fact.value {
                FactValue::Text(text) if !text.trim().is_empty() => {
                    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
                }
                FactValue::Number(number) => Some(number.to_string()),
                _ => None,
            })
    };
    let year: Option<u16> = text("dei:DocumentFiscalYearFocus").and_then(|y| y.parse().ok());
    let focus = text("dei:DocumentFiscalPeriodFocus").map(|f| f.to_uppercase());
    let fiscal_period = match (year, focus.as_deref().map(str::as_bytes)) {
        (Some(year), Some([b'Q', digit @ b'1'..=b'4'])) => {
            Some(FiscalPeriod::quarter(year, digit - b'0'))
        }
        (Some(year), Some(b"FY")) => Some(FiscalPeriod::year(year)),
        _ => None,
    };
    let amended = text("dei:AmendmentFlag").is_some_and(|flag| {
        flag.eq_ignore_ascii_case("true") || flag == "☒" || flag.eq_ignore_ascii_case("yes")
    });
    let form = text("dei:DocumentType").map(|form| {
        let form = form.strip_prefix("Form ").unwrap_or(&form);
        if amended && !form.ends_with("/A") {
            Form::new(&format!("{form}/A"))
        } else {
            Form::new(form)
        }
    });
    Known {
        accession: None,
        company: text("dei:EntityRegistrantName"),
        ticker: text("dei:TradingSymbol").and_then(|symbol| cover::first_symbol(&symbol)),
        cik: text("dei:EntityCentralIndexKey").and_then(|cik| cik.parse().ok()),
        form,
        fiscal_period,
        fiscal_year: year,
        period_end: text("dei:DocumentPeriodEndDate").and_then(|date| {
            date.parse::<Date>()
                .ok()
                .or_else(|| dates(&date).next().map(|(_, date)| date))
        }),
        filed: None,
    }
}

/// What the cover page of a filing says in words.
pub(crate) fn from_cover(text: &str, form: Option<&Form>) -> Known {
    cover::read(text, form)
}

/// Where a filing came from.
pub(crate) struct Origin<'a> {
    /// The path or URL for [`FilingMeta::source`].
    pub(crate) source: String,
    /// The file's path, for an accession number or form in its name.
    pub(crate) path: &'a str,
    /// The exhibit a document is within its filing, `EX-99.1`.
    pub(crate) exhibit: Option<&'a Form>,
    pub(crate) sha256: String,
}

/// Merges the sources, best first. None when nothing says what form it is.
pub(crate) fn merge(
    origin: Origin<'_>,
    stated: Option<&Known>,
    file: &[Known],
    warnings: &mut Vec<Warning>,
) -> Option<FilingMeta> {
    if let Some(stated) = stated {
        compare(stated, file, warnings);
    }
    let sources: Vec<&Known> = stated.into_iter().chain(file).collect();
    let form = origin
        .exhibit
        .cloned()
        .or_else(|| pick(&sources, |k| k.form.clone()))
        .or_else(|| {
            let form = form_in_name(origin.path)?;
            warnings.push(Warning::new(
                WarningCode::MetaMissing,
                format!("the text does not say what form it is; its name says {form}"),
            ));
            Some(form)
        })?;
    let doc_type = form.doc_type();
    if doc_type.is_none() {
        warnings.push(Warning::new(
            WarningCode::MetaMissing,
            format!("form {form} is none of the five document types"),
        ));
    }
    let fiscal_period = pick(&sources, |k| k.fiscal_period).or_else(|| {
        let year = pick(&sources, |k| k.fiscal_year)?;
        Some(FiscalPeriod::year(year))
    });
    // A manifest that gives the year leaves the quarter to the filing.
    let fiscal_period = match (stated.and_then(|s| s.fiscal_year), fiscal_period) {
        (Some(year), Some(period)) if stated.is_some_and(|s| s.fiscal_period.is_none()) => {
            Some(FiscalPeriod { year, ..period })
        }
        (_, period) => period,
    };
    let accession = pick(&sources, |k| k.accession.clone()).or_else(|| accession_in(origin.path));
    let exhibit = form.as_str().starts_with("EX-").then(|| form.clone());
    let accession = match (accession, exhibit) {
        (Some(accession), Some(exhibit)) if !accession.as_str().contains('/') => {
            format!("{accession}/{}", exhibit.as_str().to_ascii_lowercase())
                .parse()
                .ok()
                .or(Some(accession))
        }
        (accession, _) => accession,
    };
    let meta = FilingMeta {
        accession: match accession {
            Some(accession) => accession,
            None => name::from_path(origin.path)?,
        },
        company: pick(&sources, |k| k.company.clone()),
        ticker: pick(&sources, |k| k.ticker.clone()),
        cik: pick(&sources, |k| k.cik),
        form,
        doc_type,
        fiscal_period,
        period_end: pick(&sources, |k| k.period_end),
        filed: pick(&sources, |k| k.filed),
        source: origin.source,
        sha256: origin.sha256,
    };
    if meta.company.is_none() {
        warnings.push(Warning::new(
            WarningCode::MetaMissing,
            "no company name found",
        ));
    }
    let needs_period = matches!(
        doc_type,
        Some(crate::types::DocType::TenK | crate::types::DocType::TenQ)
    );
    if needs_period && meta.fiscal_period.is_none() {
        warnings.push(Warning::new(
            WarningCode::MetaMissing,
            "no fiscal period found",
        ));
    }
    Some(meta)
}

fn pick<T>(sources: &[&Known], field: impl Fn(&Known) -> Option<T>) -> Option<T> {
    sources.iter().find_map(|known| field(known))
}

/// Says where the manifest and the file state different things.
fn compare(stated: &Known, file: &[Known], warnings: &mut Vec<Warning>) {
    let sources: Vec<&Known> = file.iter().collect();
    let mut disagree = |field: &str, manifest: Option<String>, file: Option<String>| {
        if let (Some(manifest), Some(file)) = (manifest, file)
            && manifest != file
        {
            warnings.push(Warning::new(
                WarningCode::ManifestDisagrees,
                format!("{field}: the manifest says {manifest}, the file {file}"),
            ));
        }
    };
    let text = |value: Option<String>| value;
    disagree(
        "form",
        stated.form.as_ref().map(base_form),
        pick(&sources, |k| k.form.as_ref().map(base_form)),
    );
    disagree(
        "CIK",
        stated.cik.map(|cik| cik.to_string()),
        pick(&sources, |k| k.cik.map(|cik| cik.to_string())),
    );
    disagree(
        "period end",
        stated.period_end.map(|day| day.to_string()),
        pick(&sources, |k| k.period_end.map(|day| day.to_string())),
    );
    disagree(
        "fiscal year",
        stated
            .fiscal_year
            .or(stated.fiscal_period.map(|p| p.year))
            .map(|year| year.to_string()),
        pick(&sources, |k| k.fiscal_period.map(|p| p.year.to_string())),
    );
    disagree(
        "fiscal quarter",
        stated
            .fiscal_period
            .and_then(|p| p.quarter)
            .map(|quarter| quarter.to_string()),
        pick(&sources, |k| {
            k.fiscal_period
                .and_then(|p| p.quarter)
                .map(|quarter| quarter.to_string())
        }),
    );
    disagree(
        "ticker",
        text(stated.ticker.as_ref().map(|t| t.to_string())),
        pick(&sources, |k| k.ticker.as_ref().map(|t| t.to_string())),
    );
    // Names are written in too many ways to compare letter by letter.
    let first_word = |name: &str| {
        name.to_lowercase()
            .split(|c: char| !c.is_alphanumeric())
            .find(|word| !word.is_empty() && *word != "the")
            .map(str::to_owned)
    };
    let (Some(manifest), Some(file)) = (
        stated.company.as_deref(),
        pick(&sources, |k| k.company.clone()),
    ) else {
        return;
    };
    if first_word(manifest) != first_word(&file) {
        warnings.push(Warning::new(
            WarningCode::ManifestDisagrees,
            format!("company: the manifest says {manifest}, the file {file}"),
        ));
    }
}

/// The form without its variant: a manifest may call a 10-K405 or 10-K/A a 10-K.
fn base_form(form: &Form) -> String {
    match form.doc_type() {
        Some(kind) => kind.name().to_owned(),
        None => form.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_wins_and_the_disagreement_is_said() {
        let stated = Known {
            form: Some(Form::new("10-Q")),
            fiscal_year: Some(2023),
            company: Some("The Quill Company".to_owned()),
            ..Known::default()
        };
        let file = Known {
            form: Some(Form::new("10-K")),
            fiscal_period: Some(FiscalPeriod::quarter(2024, 2)),
            company: Some("QUILL CO".to_owned()),
            ..Known::default()
        };
        let mut warnings = Vec::new();
        let origin = Origin {
            source: "q.htm".to_owned(),
            path: "q.htm",
            exhibit: None,
            sha256: String::new(),
        };
        let meta = merge(origin, Some(&stated), &[file], &mut warnings).unwrap();
        assert_eq!(meta.form, Form::new("10-Q"));
        assert_eq!(meta.fiscal_period, Some(FiscalPeriod::quarter(2023, 2)));
        let said: Vec<_> = warnings.iter().map(|w| w.message.as_str()).collect();
        assert_eq!(
            said,
            [
                "form: the manifest says 10-Q, the file 10-K",
                "fiscal year: the manifest says 2023, the file 2024"
            ]
        );
    }

    #[test]
    fn an_exhibit_is_named_below_its_filing() {
        let stated = Known {
            form: Some(Form::new("EX-99.1")),
            accession: "0000012345-24-000001".parse().ok(),
            company: Some("Quill".to_owned()),
            ..Known::default()
        };
        let origin = Origin {
            source: "q.htm".to_owned(),
            path: "q.htm",
            exhibit: None,
            sha256: String::new(),
        };
        let meta = merge(origin, Some(&stated), &[], &mut Vec::new()).unwrap();
        assert_eq!(meta.accession.as_str(), "0000012345-24-000001/ex-99.1");
    }
}
