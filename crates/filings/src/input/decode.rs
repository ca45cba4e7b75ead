//! Bytes to text: byte-order marks, UTF-8, the declared charset, windows-1252 as the last resort.
//!
//! EDGAR documents declare US-ASCII, ISO-8859-1 or UTF-8 and are often something else. Valid UTF-8
//! wins over any declaration, because text of another encoding is almost never valid UTF-8 by
//! accident. Must not know what the text is about.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::{Warning, WarningCode};

/// Decodes `bytes`; a warning says when the text did not fit its encoding.
pub(crate) fn decode(bytes: Vec<u8>) -> (String, Option<Warning>) {
    if let Some((encoding, mark)) = Encoding::for_bom(&bytes) {
        let (text, had_errors) = encoding.decode_without_bom_handling(&bytes[mark..]);
        let warning = had_errors.then(|| replaced(encoding));
        return (text.into_owned(), warning);
    }
    if let Some(encoding) = utf16_without_mark(&bytes) {
        let (text, _) = encoding.decode_without_bom_handling(&bytes);
        let message = format!("the text is {} without a byte-order mark", encoding.name());
        return (
            text.into_owned(),
            Some(Warning::new(WarningCode::Encoding, message)),
        );
    }
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return (text, None),
        Err(e) => e.into_bytes(),
    };
    let declared = declared_charset(&bytes);
    if let Some(encoding) = declared.filter(|e| *e != UTF_8) {
        let (text, had_errors) = encoding.decode_without_bom_handling(&bytes);
        let warning = had_errors.then(|| replaced(encoding));
        return (text.into_owned(), warning);
    }
    let (good, bad) = count_sequences(&bytes);
    if good > bad {
        let message = format!("{bad} byte sequences are no UTF-8 and were replaced");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        return (text, Some(Warning::new(WarningCode::Encoding, message)));
    }
    let (text, _) = WINDOWS_1252.decode_without_bom_handling(&bytes);
    let stated = match declared {
        Some(_) => "the text says it is UTF-8 and is not",
        None => "the text is no UTF-8 and states no encoding",
    };
    let message = format!("{stated}; read as windows-1252");
    (
        text.into_owned(),
        Some(Warning::new(WarningCode::Encoding, message)),
    )
}

fn replaced(encoding: &'static Encoding) -> Warning {
    Warning::new(
        WarningCode::Encoding,
        format!("some bytes are no {} and were replaced", encoding.name()),
    )
}

/// Whether every other byte is NUL, as in Latin text in UTF-16.
pub(crate) fn looks_utf16(sample: &[u8]) -> bool {
    matches!(sample, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) || utf16_without_mark(sample).is_some()
}

fn utf16_without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    let sample = &bytes[..bytes.len().min(4096) & !1];
    if sample.len() < 16 {
        return None;
    }
    let nul = |offset: usize| {
        let pairs = sample.len() / 2;
        let zeros = sample.iter().skip(offset).step_by(2).filter(|b| **b == 0);
        (zeros.count() * 100) / pairs
    };
    match (nul(0), nul(1)) {
        (0..=1, 80..) => Some(UTF_16LE),
        (80.., 0..=1) => Some(UTF_16BE),
        _ => None,
    }
}

/// The charset named in an XML declaration or `<meta>` within the first 4 KiB.
fn declared_charset(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).to_ascii_lowercase();
    for key in ["encoding=", "charset="] {
        let Some(at) = head.find(key) else { continue };
        let value: String = head[at + key.len()..]
            .chars()
            .skip_while(|c| matches!(c, '"' | '\'' | ' '))
            .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':'))
            .collect();
        if let Some(encoding) = Encoding::for_label(value.as_bytes()) {
            return Some(encoding);
        }
    }
    None
}

/// How many multi-byte UTF-8 sequences `bytes` has, and how many broken ones.
fn count_sequences(bytes: &[u8]) -> (usize, usize) {
    bytes.utf8_chunks().fold((0, 0), |(good, bad), chunk| {
        let multibyte = chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        (
            good + multibyte,
            bad + usize::from(!chunk.invalid().is_empty()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_encoding() {
        let utf16: Vec<u8> = "Form 10-K of a company"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let mut marked = vec![0xff, 0xfe];
        marked.extend_from_slice(&utf16);
        for (bytes, text, warned) in [
            ("Société".as_bytes().to_vec(), "Société", false),
            (b"\xef\xbb\xbfBOM".to_vec(), "BOM", false),
            (marked, "Form 10-K of a company", false),
            (utf16, "Form 10-K of a company", true),
            (
                b"<meta charset=\"iso-8859-1\">Soci\xe9t\xe9".to_vec(),
                "<meta charset=\"iso-8859-1\">Société",
                false,
            ),
            (b"the company\x92s".to_vec(), "the company’s", true),
            (
                b"<?xml version='1.0' encoding='utf-8'?>the company\x92s".to_vec(),
                "<?xml version='1.0' encoding='utf-8'?>the company’s",
                true,
            ),
            (
                [("é".repeat(9)).as_bytes(), b"\xff"].concat(),
                "ééééééééé\u{fffd}",
                true,
            ),
        ] {
            let (read, warning) = decode(bytes);
            assert_eq!(read, text);
            assert_eq!(warning.is_some(), warned, "{text}: {warning:?}");
        }
    }
}
