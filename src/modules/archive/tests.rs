//! Archives built here, honest and hostile.

use std::io::Write;

use super::*;

fn tar_of(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    build(&mut builder);
    builder.into_inner().unwrap()
}

/// Adds a member whose name and link are taken as they are, however wrong.
fn add(
    builder: &mut tar::Builder<Vec<u8>>,
    name: &str,
    kind: tar::EntryType,
    link: &str,
    text: &str,
) {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_size(text.len() as u64);
    header.set_mode(0o640);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    builder.append(&header, text.as_bytes()).unwrap();
}

fn sample() -> Vec<u8> {
    tar_of(|builder| {
        add(builder, "d/", tar::EntryType::Directory, "", "");
        add(builder, "d/f", tar::EntryType::Regular, "", "hello");
        add(builder, "/abs", tar::EntryType::Regular, "", "");
        add(
            builder,
            "l",
            tar::EntryType::Symlink,
            "/usr/bin/python3",
            "",
        );
        add(builder, "h", tar::EntryType::Link, "d/f", "");
    })
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Lists `path kind content`, or returns why the archive was refused.
fn listing(bytes: &[u8]) -> Result<Vec<String>, String> {
    let mut file = file_of(bytes);
    let format = Format::of(&mut file).unwrap().expect("a known archive");
    let mut list = Vec::new();
    visit(&mut file, format, &mut |entry, content| {
        let mut text = String::new();
        content.read_to_string(&mut text).unwrap();
        let kind = match &entry.kind {
            EntryKind::File => format!("file {text}"),
            EntryKind::Directory => "directory".into(),
            EntryKind::Link(to) => format!("link {}", to.display()),
            EntryKind::HardLink(to) => format!("hard {}", to.display()),
        };
        list.push(format!("{} {kind}", entry.path.display()));
        Ok(())
    })
    .map_err(|failure| failure.msg)?;
    Ok(list)
}

const SAMPLE: [&str; 5] = [
    "d directory",
    "d/f file hello",
    "abs file ",
    "l link /usr/bin/python3",
    "h hard d/f",
];

#[test]
fn tar_archives_are_read_whatever_compresses_them() {
    let plain = sample();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&plain).unwrap();
    let options = lzma_rust2::XzOptions::with_preset(0);
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    xz.write_all(&plain).unwrap();
    for bytes in [
        plain.clone(),
        gzip.finish().unwrap(),
        bzip2.finish().unwrap(),
        xz.finish().unwrap(),
        zstd::encode_all(plain.as_slice(), 1).unwrap(),
    ] {
        assert_eq!(listing(&bytes).unwrap(), SAMPLE);
    }
}

#[test]
fn zip_archives_are_read_with_modes_and_links() {
    let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    writer.add_directory("d/", options).unwrap();
    writer
        .start_file("d/f", options.unix_permissions(0o750))
        .unwrap();
    writer.write_all(b"hello").unwrap();
    writer.add_symlink("l", "d/f", options).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    assert_eq!(
        listing(&bytes).unwrap(),
        ["d directory", "d/f file hello", "l link d/f"]
    );
    let mut modes = Vec::new();
    visit(&mut file_of(&bytes), Format::Zip, &mut |entry, _| {
        modes.push(entry.mode);
        Ok(())
    })
    .unwrap();
    assert_eq!(modes[1], Some(0o750));
}

#[test]
fn what_no_honest_archive_holds_is_refused() {
    for (name, kind, link, why) in [
        (
            "../x",
            tar::EntryType::Regular,
            "",
            "its name leaves the destination",
        ),
        (
            "a/../../x",
            tar::EntryType::Regular,
            "",
            "its name leaves the destination",
        ),
        ("null", tar::EntryType::Char, "", "it is a device"),
        ("pipe", tar::EntryType::Fifo, "", "it is a named pipe"),
    ] {
        let bytes = tar_of(|builder| add(builder, name, kind, link, ""));
        assert_eq!(
            listing(&bytes),
            Err(format!("refused to unpack the archive: `{name}`: {why}"))
        );
    }
    let bytes = tar_of(|builder| add(builder, "h", tar::EntryType::Link, "../../etc/shadow", ""));
    assert_eq!(
        listing(&bytes),
        Err(
            "refused to unpack the archive: `../../etc/shadow`: its name leaves the destination"
                .into()
        )
    );
}

#[test]
fn foreign_bytes_are_no_archive_and_half_an_archive_is_an_error() {
    assert_eq!(Format::of(&mut file_of(b"hello")).unwrap(), None);
    assert_eq!(Format::of(&mut file_of(&[7; 4096])).unwrap(), None);
    let whole = sample();
    assert!(
        listing(&whole[..700])
            .unwrap_err()
            .starts_with("the archive cannot be read: ")
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"only text").unwrap();
    let text = gzip.finish().unwrap();
    assert!(
        listing(&text)
            .unwrap_err()
            .starts_with("the archive cannot be read: ")
    );
    for end in 0..whole.len().min(600) {
        // Whatever comes of it, it is no panic.
        let mut file = file_of(&whole[..end]);
        if let Ok(Some(format)) = Format::of(&mut file) {
            visit(&mut file, format, &mut |_, _| Ok(())).ok();
        }
    }
}
