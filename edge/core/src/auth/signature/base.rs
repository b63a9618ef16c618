//! What is signed of a request: the signature base (RFC 9421, 2.5).

use std::fmt::{Display, Write};

/// A request as its signature sees it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// In capitals.
    pub method: &'a str,
    /// For whom it is, `host` or `host:port`, in lower case and without the port that is the default one.
    pub authority: &'a str,
    /// Percent-encoded, as it was sent; at least `/`.
    pub path: &'a str,
    /// What follows the `?`, if there is one.
    pub query: Option<&'a str>,
}

/// The signature base: a line for each component (its name and value, which has no line's end), and
/// `@signature-params`, which is the inner list of the header `Signature-Input`.
pub fn base<'a, V: Display>(
    components: impl IntoIterator<Item = (&'a str, V)>,
    params: &str,
) -> String {
    let mut base = String::with_capacity(512 + params.len());
    for (name, value) in components {
        // Writing to a string can't fail.
        let _ = writeln!(base, "\"{name}\": {value}");
    }
    let _ = write!(base, "\"@signature-params\": {params}");
    base
}
