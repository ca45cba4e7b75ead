//! Opens a file, sees by its first bytes whether it is compressed, and hands out a bounded stream of
//! the unpacked bytes.
//!
//! Knows gzip and zstandard (windows up to 128 MiB) and refuses other packings and binary formats by
//! name. Must not know what the bytes mean.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::FilingsError;
use crate::input::unreadable;

/// zstd frames made with long-distance matching need a window of 2^27 bytes; larger ones would let a
/// file decide how much memory reading it takes.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How much of the start of a file is looked at to tell what it is.
const HEAD_BYTES: usize = 64 << 10;

/// A file opened, unpacked on the fly.
pub(crate) struct Unpacked {
    path: PathBuf,
    packing: Packing,
    reader: Box<dyn BufRead + Send>,
    head: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    fn name(self) -> &'static str {
        match self {
            Packing::None => "plain",
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        }
    }
}

/// `name` without the extensions that only say how it is packed.
pub(crate) fn unpacked_name(name: &str) -> &str {
    let lower = name.to_ascii_lowercase();
    let cut = [".zst", ".zstd", ".gz", ".gzip"]
        .iter()
        .find(|extension| lower.ends_with(*extension))
        .map_or(0, |extension| extension.len());
    &name[..name.len() - cut]
}

/// Formats that are no text, by their first bytes, with what the user can do about each.
const BINARY: [(&[u8], &str, &str); 12] = [
    (
        b"%PDF",
        "a PDF",
        "import the HTML that was filed, or the PDF's text as page JSON lines",
    ),
    (
        b"PK\x03\x04",
        "a ZIP archive or office document",
        "unpack it and import what is inside",
    ),
    (
        b"BZh",
        "bzip2 data",
        "unpack it, or repack it as .gz or .zst",
    ),
    (
        b"\xfd7zXZ",
        "xz data",
        "unpack it, or repack it as .gz or .zst",
    ),
    (
        b"7z\xbc\xaf",
        "a 7-Zip archive",
        "unpack it and import what is inside",
    ),
    (b"\x89PNG", "a picture", "leave it out"),
    (b"\xff\xd8\xff", "a picture", "leave it out"),
    (b"GIF8", "a picture", "leave it out"),
    (
        b"\xd0\xcf\x11\xe0",
        "an office document",
        "save it as HTML or text",
    ),
    (
        b"GGUF",
        "a model file",
        "models go into the models folder, not the corpus",
    ),
    (b"\x7fELF", "a program", "leave it out"),
    (b"SQLite format 3", "a database", "leave it out"),
];

/// Opens `path` and looks at its start. Refuses what is empty, packed otherwise, or binary.
pub(crate) fn open(path: &Path) -> Result<Unpacked, FilingsError> {
    let io_error = |source| FilingsError::Io {
        path: path.to_path_buf(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(io_error)?;
    if metadata.is_dir() {
        return Err(unreadable(path, "is a folder", "import the files in it"));
    }
    let mut raw = BufReader::with_capacity(HEAD_BYTES, File::open(path).map_err(io_error)?);
    let start = raw.fill_buf().map_err(io_error)?;
    let packing = match start {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        _ => Packing::None,
    };
    let reader: Box<dyn BufRead + Send> = match packing {
        Packing::None => Box::new(raw),
        Packing::Gzip => Box::new(BufReader::with_capacity(
            HEAD_BYTES,
            flate2::bufread::MultiGzDecoder::new(raw),
        )),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(raw).map_err(io_error)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(io_error)?;
            Box::new(BufReader::with_capacity(HEAD_BYTES, decoder))
        }
    };
    let mut unpacked = Unpacked {
        path: path.to_path_buf(),
        packing,
        reader,
        head: Vec::new(),
    };
    unpacked.read_head()?;
    Ok(unpacked)
}

impl Unpacked {
    /// The first bytes, up to 64 KiB.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    fn read_head(&mut self) -> Result<(), FilingsError> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        (&mut self.reader)
            .take(HEAD_BYTES as u64)
            .read_to_end(&mut head)
            .map_err(|e| read_error(&self.path, self.packing, e))?;
        self.head = head;
        if self.head.is_empty() {
            return Err(unreadable(&self.path, "is empty", "fetch it again"));
        }
        for (magic, what, mend) in BINARY {
            if self.head.starts_with(magic) {
                return Err(unreadable(&self.path, format!("is {what}"), mend));
            }
        }
        if matches!(
            self.head.as_slice(),
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..]
        ) {
            return Err(unreadable(
                &self.path,
                "is packed twice",
                "unpack it once and import that",
            ));
        }
        if looks_binary(&self.head) {
            return Err(unreadable(
                &self.path,
                "is binary, not text",
                "import filings as HTML, text or page JSON lines",
            ));
        }
        Ok(())
    }

    /// All bytes as they come.
    pub(crate) fn into_reader(self) -> impl BufRead + Send {
        BufReader::new(io::Cursor::new(self.head).chain(self.reader))
    }

    /// All bytes, or an error as soon as they are more than `max_bytes`.
    pub(crate) fn read_document(self, max_bytes: u64) -> Result<Vec<u8>, FilingsError> {
        let too_large = |path: &Path| {
            unreadable(
                path,
                format!("is larger than {} unpacked", megabytes(max_bytes)),
                "a single filing is never that large: split it into one file per document",
            )
        };
        if self.packing == Packing::None
            && std::fs::metadata(&self.path).is_ok_and(|m| m.len() > max_bytes)
        {
            return Err(too_large(&self.path));
        }
        let mut bytes = self.head;
        let left = max_bytes.saturating_sub(bytes.len() as u64);
        self.reader
            .take(left + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| read_error(&self.path, self.packing, e))?;
        if bytes.len() as u64 > max_bytes {
            return Err(too_large(&self.path));
        }
        Ok(bytes)
    }

    /// The bytes as a stream for line-wise reading; the path comes along for messages.
    pub(crate) fn into_stream(self) -> Stream {
        Stream {
            path: self.path,
            packing: self.packing,
            reader: io::Cursor::new(self.head).chain(self.reader),
        }
    }
}

/// The unpacked bytes from the start, read line by line under a limit.
pub(crate) struct Stream {
    path: PathBuf,
    packing: Packing,
    reader: io::Chain<io::Cursor<Vec<u8>>, Box<dyn BufRead + Send>>,
}

/// What reading one line gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line is in the buffer, without its end.
    Read,
    /// The line was longer than the limit and has been passed over.
    TooLong,
    /// No more lines.
    End,
}

impl Stream {
    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the next line into `buffer`; a longer one than `max_bytes` is passed over without being
    /// kept.
    pub(crate) fn next_line(
        &mut self,
        buffer: &mut Vec<u8>,
        max_bytes: usize,
    ) -> Result<Line, FilingsError> {
        buffer.clear();
        let mut too_long = false;
        let mut any = false;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(read_error(&self.path, self.packing, e)),
            };
            if available.is_empty() {
                break;
            }
            any = true;
            let end = memchr::memchr(b'\n', available);
            let take = end.unwrap_or(available.len());
            if buffer.len() + take > max_bytes {
                too_long = true;
                buffer.clear();
            } else if !too_long {
                buffer.extend_from_slice(&available[..take]);
            }
            self.reader.consume(end.map_or(take, |end| end + 1));
            if end.is_some() {
                break;
            }
        }
        if too_long {
            return Ok(Line::TooLong);
        }
        if !any {
            return Ok(Line::End);
        }
        if buffer.last() == Some(&b'\r') {
            buffer.pop();
        }
        Ok(Line::Read)
    }
}

fn read_error(path: &Path, packing: Packing, source: io::Error) -> FilingsError {
    if packing == Packing::None {
        return FilingsError::Io {
            path: path.to_path_buf(),
            source,
        };
    }
    let name = packing.name();
    let text = source.to_string();
    if text.contains("memory") || text.contains("Window") {
        return unreadable(
            path,
            format!("its {name} window is larger than 128 MiB ({text})"),
            "repack it with `zstd --long=27` or less",
        );
    }
    unreadable(
        path,
        format!("the {name} data is damaged or cut short ({text})"),
        "fetch the file again",
    )
}

fn megabytes(bytes: u64) -> String {
    if bytes >= 1 << 20 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{bytes} bytes")
    }
}

/// Text has no NUL (UTF-16 apart, which has them on every other byte) and few control characters.
fn looks_binary(head: &[u8]) -> bool {
    let sample = &head[..head.len().min(8 << 10)];
    if super::decode::looks_utf16(sample) {
        return false;
    }
    let control = sample
        .iter()
        .filter(|b| **b < 0x20 && !matches!(**b, b'\n' | b'\r' | b'\t' | 0x0c | 0x1a | 0x1b))
        .count();
    sample.contains(&0) || control * 20 > sample.len()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn unpacks_by_content_whatever_the_name_says() {
        let text = b"<html><body>10-K</body></html>";
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        for (name, bytes) in [
            ("a.html", text.to_vec()),
            ("a.html.gz", gzip(text)),
            ("wrongly-named.html", gzip(text)),
            ("a.zst", zstd.clone()),
            ("a.gz", zstd),
        ] {
            let (_folder, path) = file(name, &bytes);
            let read = open(&path).unwrap().read_document(1 << 20).unwrap();
            assert_eq!(read, text, "{name}");
        }
    }

    #[test]
    fn names_what_cannot_be_read() {
        let text = "word ".repeat(5_000);
        let mut cut = gzip(text.as_bytes());
        cut.truncate(cut.len() / 2);
        let mut cut_zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
        cut_zstd.truncate(cut_zstd.len() / 2);
        for (bytes, message) in [
            (Vec::new(), "is empty"),
            (gzip(b""), "is empty"),
            (b"%PDF-1.7".to_vec(), "is a PDF"),
            (b"PK\x03\x04rest".to_vec(), "ZIP"),
            (vec![0, 1, 2, 3, 200, 7, 0, 0], "is binary"),
            (gzip(&gzip(b"text")), "packed twice"),
            (cut, "gzip data is damaged or cut short"),
            (cut_zstd, "zstd data is damaged or cut short"),
        ] {
            let (_folder, path) = file("x.bin", &bytes);
            let error = open(&path)
                .and_then(|u| u.read_document(1 << 30))
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{error}");
            assert!(error.contains("x.bin"), "{error}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![b'a'; 8 << 20]);
        // How small it packs is the compressor's affair; that it is a bomb is not.
        assert!(bomb.len() < (8 << 20) / 50, "{} bytes", bomb.len());
        let (_folder, path) = file("bomb.html.gz", &bomb);
        let error = open(&path).unwrap().read_document(1 << 20).unwrap_err();
        assert!(error.to_string().contains("larger than 1 MiB"), "{error}");
        let mut stream = open(&path).unwrap().into_stream();
        let mut line = Vec::new();
        assert_eq!(stream.next_line(&mut line, 1 << 20).unwrap(), Line::TooLong);
        assert!(line.capacity() <= 2 << 20);
        assert_eq!(stream.next_line(&mut line, 1 << 20).unwrap(), Line::End);
    }

    #[test]
    fn a_wide_zstd_window_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(28).unwrap();
        encoder.write_all(&vec![b'a'; 1 << 20]).unwrap();
        let (_folder, path) = file("wide.zst", &encoder.finish().unwrap());
        let error = open(&path).err().unwrap().to_string();
        assert!(error.contains("128 MiB"), "{error}");
    }

    #[test]
    fn names_lose_only_their_packing() {
        for (name, bare) in [
            ("a.html.zst", "a.html"),
            ("b.txt.GZ", "b.txt"),
            ("c.htm", "c.htm"),
        ] {
            assert_eq!(unpacked_name(name), bare);
        }
    }
}
