//! Certificates in headers: the forms in which clients and TLS proxies write them.

use sfv::{BareItem, Item, List, ListEntry, Parser};

/// The certificate (DER) of a `Client-Cert` (RFC 9440, 2.2).
pub fn client_cert(value: &str) -> Option<Vec<u8>> {
    let item: Item = Parser::new(value).parse().ok()?;
    bytes(item)
}

/// The certificates (DER) of a `Client-Cert-Chain` (RFC 9440, 2.3), in its order.
pub fn client_cert_chain(value: &str) -> Option<Vec<Vec<u8>>> {
    let list: List = Parser::new(value).parse().ok()?;
    let certificates = list.into_iter().map(|entry| match entry {
        ListEntry::Item(item) => bytes(item),
        ListEntry::InnerList(_) => None,
    });
    certificates.collect()
}

fn bytes(item: Item) -> Option<Vec<u8>> {
    match item.bare_item {
        BareItem::ByteSequence(bytes) => Some(bytes),
        _ => None,
    }
}
