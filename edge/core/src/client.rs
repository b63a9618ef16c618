//! Who is at the other end of a connection.

use std::net::IpAddr;

use crate::certificate::Principal;

/// A connection's client. It is worked out once, kept by the door with the connection, and handed in
/// with each request: so it is one string of bytes, which crosses into a component at the least cost.
pub struct Client(Vec<u8>);

impl Client {
    /// The client with these certificates, which are `trusted` or not (see [`Principal::of_chain`]),
    /// and this address.
    pub fn new<'a>(chain: impl IntoIterator<Item = &'a [u8]>, ip: &str, trusted: bool) -> Self {
        Self::of(Principal::of_chain(chain, trusted), ip)
    }

    /// The client that is known to be this one, and its address.
    pub fn of(principal: Principal, ip: &str) -> Self {
        let mut bytes = principal.to_bytes().to_vec();
        bytes.extend_from_slice(ip.as_bytes());
        Self(bytes)
    }

    /// The client that [`Client::into_bytes`] wrote.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The client as bytes, which only this module understands.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// What its certificates say.
    pub fn principal(&self) -> Principal {
        match self.0.split_first_chunk() {
            Some((principal, _)) => Principal::from_bytes(principal),
            None => Principal::Unreadable,
        }
    }

    /// What tells it from other clients, where something is shared out among them: its identity if it
    /// has one, else its address.
    pub fn account(&self) -> Vec<u8> {
        match self.principal() {
            Principal::Client { identity, .. } => identity.as_bytes().to_vec(),
            _ => self.ip().as_bytes().to_vec(),
        }
    }

    /// Its address, without the port.
    pub fn ip(&self) -> &str {
        let ip = self.0.get(Principal::LENGTH..).unwrap_or_default();
        std::str::from_utf8(ip).unwrap_or_default()
    }
}

/// Whether an address is one of this machine.
pub fn is_here(ip: &str) -> bool {
    ip.parse()
        .is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_written_is_read() {
        let client = Client::new([], "2001:db8::1", true);
        let client = Client::from_bytes(client.into_bytes());
        assert_eq!(client.principal(), Principal::Nobody);
        assert_eq!(client.ip(), "2001:db8::1");
    }

    proptest! {
        #[test]
        fn any_bytes_are_some_client(bytes: Vec<u8>) {
            let client = Client::from_bytes(bytes.clone());
            if let Principal::Client { identity, .. } = client.principal() {
                prop_assert!(bytes.len() >= Principal::LENGTH);
                prop_assert_eq!(&bytes[1..33], identity.as_bytes());
            }
            let _ = client.ip();
        }
    }
}
