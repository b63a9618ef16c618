//! What a request presents, as one string of bytes: so it crosses into a component at the least cost.

use super::Presented;

/// Something presented, as [`Presented`] has it: parts of a name and a value, each behind its length.
#[derive(Default)]
pub struct Packed(Vec<u8>);

/// Names that no header has.
const AUTHORITY: &str = ":authority";
const QUERY: &str = ":query";
const SHOWN: &str = ":shown";

impl Packed {
    /// Adds a header's line: its name in lower case, its value as it came.
    pub fn header(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            // HTTP has no header that is longer.
            let part = part.get(..u32::MAX as usize).unwrap_or(part);
            self.0.extend((part.len() as u32).to_le_bytes());
            self.0.extend(part);
        }
    }

    /// Adds for whom the request is ([`Presented::authority`]).
    pub fn authority(&mut self, authority: &str) {
        self.header(AUTHORITY, authority.as_bytes());
    }

    /// Adds its query ([`Presented::query`]).
    pub fn query(&mut self, query: &str) {
        self.header(QUERY, query.as_bytes());
    }

    /// Adds the server's certificate ([`Presented::shown`]).
    pub fn shown(&mut self, certificate: &[u8]) {
        self.header(SHOWN, certificate);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, which [`Packed::unpack`] reads.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// What was packed into these bytes; of any others what can be read. It came by TLS: who packs it has no
    /// plain HTTP.
    pub fn unpack(mut bytes: &[u8]) -> Presented {
        let mut presented = Presented::default();
        while let Some((name, value)) = next(&mut bytes).zip(next(&mut bytes)) {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap_or_default();
            match text(name) {
                name if name == AUTHORITY => presented.authority = text(value),
                name if name == QUERY => presented.query = Some(text(value)),
                name if name == SHOWN => presented.shown = Some(value.to_vec()),
                name => presented.headers.push((name, value.to_vec())),
            }
        }
        presented
    }
}

/// The next part.
fn next<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(
            authority: String,
            query: Option<String>,
            shown: Vec<u8>,
            headers in prop::collection::vec(("[a-z-]{1,20}", any::<Vec<u8>>()), 0..5),
        ) {
            let mut packed = Packed::default();
            for (name, value) in &headers {
                packed.header(name, value);
            }
            prop_assert_eq!(packed.is_empty(), headers.is_empty());
            packed.authority(&authority);
            query.iter().for_each(|query| packed.query(query));
            packed.shown(&shown);
            let presented = Packed::unpack(&packed.into_bytes());
            prop_assert_eq!(presented.authority, authority);
            prop_assert_eq!(presented.query, query);
            prop_assert_eq!(presented.shown, Some(shown));
            prop_assert_eq!(presented.headers, headers);
        }

        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let _ = Packed::unpack(&bytes);
        }
    }
}
