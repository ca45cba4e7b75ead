//! One file from a model hub over HTTP, continued where an earlier try stopped (`Range`).

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::path::Path;

use super::HubSource;
use super::fetch::{FetchOptions, copy_reporting};

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
    let url = format!(
        "{}/{}/resolve/{}/{}",
        options.hub_url.trim_end_matches('/'),
        source.repository,
        source.revision,
        source.file
    );
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(options.connect_timeout))
        .timeout_resolve(Some(options.connect_timeout))
        .timeout_recv_response(Some(options.read_timeout))
        .timeout_per_read(Some(options.read_timeout))
        .http_status_as_error(false)
        .user_agent(concat!("footnote/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut request = agent.get(&url);
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
