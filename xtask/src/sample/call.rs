//! The earnings call on the last fiscal year, as plain text in one of two usual layouts.

use anyhow::{Context, Result};

use super::company::{Books, Company, Piece, long_date};
use super::current::results_day;
use super::html::Dialect;
use super::parts::{self, notice};

/// The transcript.
pub fn write(company: &Company, books: &Books) -> Result<String> {
    let year = company.last_year;
    let filler = parts::filler(
        company,
        year,
        &books.fourth_quarter[0],
        &books.fourth_quarter[1],
        &format!("the fourth quarter of fiscal {year}"),
    );
    let remarks = company.section("call", &filler)?;
    let questions = company.section("questions", &filler)?;
    let mut people: Vec<(String, String)> = Vec::new();
    for piece in remarks.iter().chain(&questions) {
        if let Piece::Speaker(line) = piece {
            let (name, title) = split(line)?;
            if name != "Operator" && !people.iter().any(|(known, _)| *known == name) {
                people.push((name, title));
            }
        }
    }
    let mut out = format!(
        "{} ({}) Q4 {year} Earnings Call\n{}, 5:00 p.m. ET\n\n{}\n\n",
        company.name,
        company.ticker,
        long_date(results_day(company)),
        notice(company)
    );
    match company.dialect {
        Dialect::Spans => {
            out.push_str("Prepared Remarks:\n\n");
            for piece in &remarks {
                titled(&mut out, piece)?;
            }
            out.push_str("Questions & Answers:\n\n");
            for piece in &questions {
                titled(&mut out, piece)?;
            }
            out.push_str("Call participants:\n\n");
            for (name, title) in &people {
                out.push_str(&format!("{name} -- {title}\n\n"));
            }
        }
        Dialect::Paragraphs => {
            out.push_str("Company Participants\n\n");
            for (name, title) in people
                .iter()
                .filter(|(_, title)| !title.contains("Analyst"))
            {
                out.push_str(&format!("{name} - {title}\n"));
            }
            out.push_str("\nConference Call Participants\n\n");
            for (name, title) in people.iter().filter(|(_, title)| title.contains("Analyst")) {
                out.push_str(&format!("{name} - {title}\n"));
            }
            out.push_str("\nPresentation\n\n");
            joined(&mut out, &remarks)?;
            out.push_str("Question-and-Answer Session\n\n");
            joined(&mut out, &questions)?;
        }
    }
    Ok(out)
}

/// `Name, Title` as its two halves.
fn split(line: &str) -> Result<(String, String)> {
    if line == "Operator" {
        return Ok(("Operator".to_owned(), String::new()));
    }
    let (name, title) = line
        .split_once(", ")
        .with_context(|| format!("speaker {line:?} has no title"))?;
    Ok((name.to_owned(), title.to_owned()))
}

/// A name line with the title, the speech below it.
fn titled(out: &mut String, piece: &Piece) -> Result<()> {
    match piece {
        Piece::Speaker(line) => {
            let (name, title) = split(line)?;
            out.push_str(&name);
            if !title.is_empty() {
                out.push_str(" -- ");
                out.push_str(&title);
            }
        }
        Piece::Head(text) | Piece::Text(text) | Piece::Bullet(text) => out.push_str(text),
    }
    out.push_str("\n\n");
    Ok(())
}

/// `Name: speech` paragraphs.
fn joined(out: &mut String, pieces: &[Piece]) -> Result<()> {
    let mut begin = false;
    for piece in pieces {
        match piece {
            Piece::Speaker(line) => {
                let (name, _) = split(line)?;
                out.push_str(&name);
                out.push_str(": ");
                begin = true;
                continue;
            }
            Piece::Head(text) | Piece::Text(text) | Piece::Bullet(text) => {
                debug_assert!(begin || !out.is_empty());
                out.push_str(text);
            }
        }
        out.push_str("\n\n");
    }
    Ok(())
}
