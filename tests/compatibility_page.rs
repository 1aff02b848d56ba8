//! Writes the part of docs/compatibility.md that is made of the tables in the code.

#[path = "compatibility.rs"]
mod compatibility;

fn main() -> std::io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");
    let page = std::fs::read_to_string(path)?;
    let head = page.split(compatibility::HEADING).next().unwrap_or(&page);
    let page = format!("{head}{}", compatibility::section());
    #[expect(clippy::disallowed_methods, reason = "a page of this project")]
    std::fs::write(path, page)
}
