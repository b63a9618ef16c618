//! What the project's documents show, for the tests that run it.

/// The blocks of code in this language, in their order.
///
/// # Panics
/// If a block has no end.
pub fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let mark = format!("```{language}\n");
    let rest = document.split(&mark).skip(1);
    rest.map(|it| it.split_once("```").unwrap().0).collect()
}
