//! Foreign bytes never panic: each target is fed its corpus and edits of it.
//!
//! A target is one `#[test]`, so a bounded run is part of plain `cargo test`; `cargo bolero test
//! fuzz::NAME` runs the same target under a coverage-guided engine for as long as one likes.
//! Seeds are the files of `tests/fuzz/NAME/corpus`: add one for each input that ever went wrong.
//! What bolero itself finds it keeps in `tests/__fuzz__/NAME`, which is not committed.

use std::path::Path;

use backstay::agent::frame::{Decoder, Frame};
use backstay::agent::protocol::{ToAgent, ToController};
use backstay::inventory::{Format, Inventory};
use backstay::source::SourceFile;
use backstay::vault::{self, Secrets};
use backstay::yaml;

/// One change of a seed: where, how, and with which byte.
type Edit = (u16, u8, u8);

/// Defines a target: its name is its corpus, `$iterations` bounds the run in `cargo test`.
macro_rules! target {
    ($name:ident, $iterations:literal, $run:expr) => {
        #[test]
        fn $name() {
            let corpus = corpus(stringify!($name));
            let run: fn(&[u8]) = $run;
            for seed in &corpus {
                run(seed);
            }
            bolero::check!(name = stringify!($name))
                .with_type::<(usize, Vec<Edit>)>()
                .with_iterations($iterations)
                .for_each(|(index, edits)| run(&edited(&corpus[index % corpus.len()], edits)));
        }
    };
}

target!(yaml_reader, 4000, |bytes| {
    let text = String::from_utf8_lossy(bytes);
    let file = SourceFile::new("fuzz.yml", text);
    let Ok(document) = yaml::parse(&file) else {
        return;
    };
    let value = document.root.to_value();
    let written = yaml::to_yaml(&value, &yaml::YamlStyle::nice());
    let read = yaml::parse_data(&written);
    // A number that is none equals nothing, not even itself.
    if !written.contains(".nan") {
        assert_eq!(read.as_ref(), Ok(&value), "{written}");
    }
});

target!(ini_inventory, 4000, |bytes| inventory(bytes, Format::Ini));

target!(toml_inventory, 2000, |bytes| inventory(bytes, Format::Toml));

target!(yaml_inventory, 4000, |bytes| inventory(bytes, Format::Yaml));

target!(vault_reader, 300, |bytes| {
    let mut secrets = Secrets::default();
    secrets.add("default", &b"secret"[..]);
    let Ok(plaintext) = vault::decrypt(bytes, &secrets) else {
        return;
    };
    let again = vault::encrypt(&plaintext, b"secret", None);
    assert_eq!(vault::decrypt(again.as_bytes(), &secrets), Ok(plaintext));
});

target!(frame_decoder, 4000, |bytes| {
    let mut decoder = Decoder::default();
    let (mut frames, mut again) = (0, Vec::new());
    for piece in bytes.chunks(7) {
        decoder.push(piece);
        while let Ok(Some(frame)) = decoder.next_frame() {
            frame.encode(&mut again);
            frames += 1;
            if let Frame::Control(text) = &frame {
                serde_json::from_slice::<ToAgent>(text).ok();
                serde_json::from_slice::<ToController>(text).ok();
            }
        }
    }
    assert!(bytes.starts_with(&again), "{frames} frames");
});

fn inventory(bytes: &[u8], format: Format) {
    let file = SourceFile::new("fuzz", String::from_utf8_lossy(bytes));
    let Ok((inventory, _)) = Inventory::read(&file, format) else {
        return;
    };
    let all = inventory.hosts_matching("all").unwrap().hosts;
    assert_eq!(all.len(), inventory.hosts().len());
    for host in &all {
        assert!(inventory.layers(host, &[]).is_ok());
        assert!(!inventory.group_names(host).is_empty());
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz")
        .join(target);
    let entries = std::fs::read_dir(directory.join("corpus")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

fn edited(seed: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for (place, kind, byte) in edits {
        let at = usize::from(*place) % (bytes.len() + 1);
        match kind % 5 {
            0 => bytes.insert(at, *byte),
            1 => bytes.truncate(at),
            2 => {
                let end = (at + usize::from(*byte)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + usize::from(*byte)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.extend(copy);
            }
            _ => {
                if let Some(target) = bytes.get_mut(at) {
                    *target = *byte;
                }
            }
        }
    }
    bytes
}
