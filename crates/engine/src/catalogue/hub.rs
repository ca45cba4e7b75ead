//! One file from a model hub over HTTP, continued where an earlier try stopped (`Range`).

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::path::Path;

use super::HubSource;
use super::fetch::{FetchOptions, Identity, copy_reporting, is_sha256};

/// Downloads into `partial` until it has `size` bytes.
pub(super) fn download(
    source: &HubSource,
    size: u64,
    partial: &Path,
    options: &FetchOptions,
    report: &mut dyn FnMut(&str, u64),
) -> Result<(), String> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(false)
        .truncate(false)
        .write(true)
        .open(partial)
        .map_err(|error| format!("opening {}: {error}", partial.display()))?;
    let have = file.metadata().map_err(|error| error.to_string())?.len();
    if have == size {
        return Ok(());
    }
    let url = address(source, options);
    let mut request = agent(options, FOLLOW).get(&url);
    if have > 0 && have < size {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut response = request.call().map_err(|error| error.to_string())?;
    let start = match response.status().as_u16() {
        // The whole file, whether or not a part of it was asked for.
        200 => 0,
        206 if continues_at(&response, have) => have,
        206 => return Err("it answers with another part than the one asked for".to_string()),
        status => return Err(format!("it answers {status} for {url}")),
    };
    begin_at(&mut file, start)?;
    let step = format!("downloading from {}", options.hub_url);
    let done = copy_reporting(
        &mut response.body_mut().as_reader(),
        &mut file,
        start,
        size,
        &step,
        report,
    )?;
    if done < size {
        return Err(format!("it stopped after {done} of {size} bytes"));
    }
    Ok(())
}

/// Redirects that a download follows: to where the hub keeps its large files.
const FOLLOW: u32 = 10;
/// No model file is larger.
const MOST_BYTES: u64 = 1 << 40;

/// Size and SHA-256 of a large file as the hub publishes them: headers of its answer before any redirect, which
/// whatever stores the bytes does not see.
pub(super) fn identity(source: &HubSource, options: &FetchOptions) -> Result<Identity, String> {
    let url = address(source, options);
    let response = agent(options, 0)
        .head(&url)
        .call()
        .map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    if !(200..400).contains(&status) {
        return Err(format!("it answers {status} for {url}"));
    }
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    let sha256 = header("x-linked-etag").map(|tag| tag.trim_matches('"').to_owned());
    let size = header("x-linked-size").and_then(|size| size.parse().ok());
    match (sha256, size) {
        (Some(sha256), Some(size_bytes)) if is_sha256(&sha256) && size_bytes <= MOST_BYTES => {
            Ok(Identity { size_bytes, sha256 })
        }
        _ => Err(format!("it tells no size and checksum for {url}")),
    }
}

fn address(source: &HubSource, options: &FetchOptions) -> String {
    format!(
        "{}/{}/resolve/{}/{}",
        options.hub_url.trim_end_matches('/'),
        source.repository,
        source.revision,
        source.file
    )
}

fn agent(options: &FetchOptions, redirects: u32) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_connect(Some(options.connect_timeout))
        .timeout_resolve(Some(options.connect_timeout))
        .timeout_recv_response(Some(options.read_timeout))
        .timeout_per_read(Some(options.read_timeout))
        .max_redirects(redirects)
        .max_redirects_will_error(redirects > 0)
        .http_status_as_error(false)
        .user_agent(concat!("footnote/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

/// Whether a partial answer starts at byte `have`.
fn continues_at(response: &ureq::http::Response<ureq::Body>, have: u64) -> bool {
    response
        .headers()
        .get("content-range")
        .and_then(|range| range.to_str().ok())
        .is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}

fn begin_at(file: &mut File, start: u64) -> Result<(), String> {
    file.set_len(start)
        .and_then(|()| file.seek(SeekFrom::Start(start)))
        .map(|_| ())
        .map_err(|error| format!("truncating the partial file: {error}"))
}
