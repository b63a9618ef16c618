//! What is signed of a request: the signature base (RFC 9421, 2.5).

use super::SignatureError;
use crate::conceal::conceal;

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

impl Message<'_> {
    /// What is said if a signature is not that of this request, not more of it than fits.
    pub(super) fn not_authentic(&self) -> SignatureError {
        let short = |text: &str| {
            let text: String = text.chars().take(LONGEST).collect();
            conceal(&text).into_owned()
        };
        SignatureError::NotAuthentic {
            method: short(self.method),
            authority: short(self.authority),
            path: short(self.path),
        }
    }
}

/// How many characters of each part of a request are said again.
const LONGEST: usize = 255;

/// The signature base: a line for each component (its name and value, which has no line's end), and
/// `@signature-params`, which is the inner list of the header `Signature-Input` as `write_params` appends it.
pub fn base<'a>(
    components: impl IntoIterator<Item = (&'a str, impl AsRef<str>)>,
    write_params: impl FnOnce(&mut String),
) -> String {
    let mut base = String::with_capacity(1024);
    for (name, value) in components {
        for part in ["\"", name, "\": ", value.as_ref(), "\n"] {
            base.push_str(part);
        }
    }
    base.push_str("\"@signature-params\": ");
    write_params(&mut base);
    base
}
