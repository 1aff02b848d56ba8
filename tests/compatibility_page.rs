//! Writes the parts of docs/compatibility.md that are made of the tables in the code.

#[path = "compatibility.rs"]
mod compatibility;

fn main() -> std::io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");
    let page = std::fs::read_to_string(path)?;
    let head = page.split(compatibility::HEADING).next().unwrap_or(&page);
    let mut text = String::new();
    for line in head.lines() {
        let listed = compatibility::lists();
        let list = listed
            .into_iter()
            .find(|(start, _)| line.starts_with(start));
        text += &list.map_or_else(|| line.to_owned(), |(start, names)| listing(start, names));
        text.push('\n');
    }
    text += &compatibility::section();
    #[expect(clippy::disallowed_methods, reason = "a page of this project")]
    std::fs::write(path, text)
}

fn listing(start: &str, mut names: Vec<&str>) -> String {
    names.sort_unstable();
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("{start}{}.", names.join(", "))
}
