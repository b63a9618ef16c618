//! Sealing again what is stored, for the recipients that the configuration has now.

use std::fmt;
use std::rc::Rc;

use zeroize::Zeroizing;

use super::{Configured, SealingError};
use crate::config::Seal;
use crate::crypto::{Crypto, Random};
use crate::key::{CorruptKey, Key};
use crate::name::Name;
use crate::platform::World;
use crate::seal::{self, NodeIdentity, Opened};
use crate::time::Time;

/// Seals values again, in the name of this node.
pub struct Rewrapper {
    configured: Configured,
    identity: Rc<NodeIdentity>,
    /// Records from before this time are not left as they are.
    before: Option<Time>,
}

/// What becomes of a value.
pub enum Rewrapped {
    /// It is sealed as the configuration wants it.
    Unchanged,
    /// It was not sealed: this is its sealed form.
    Sealed(Zeroizing<String>),
    /// It was sealed for others, or too long ago: this is its new form, with a new content key.
    Resealed(Zeroizing<String>),
}

/// Why a value is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CannotRewrap {
    /// It is not sealed, and the configuration does not accept that.
    NotSealed,
    /// It does not open, or can't be sealed.
    Sealing(SealingError),
    /// It is no key.
    NoKey(CorruptKey),
}

impl fmt::Display for CannotRewrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSealed => f.write_str(
                "it is not sealed, and somebody may have planted it: have `seal.accept_unsealed` on while \
                 such keys are to be sealed",
            ),
            Self::Sealing(why) => why.fmt(f),
            Self::NoKey(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for CannotRewrap {}

impl Rewrapper {
    /// As the configuration wants it. What it wants already is left alone, unless that was sealed
    /// before the time `before`.
    ///
    /// # Errors
    /// The node's identity is not to be had, or the node would not open what it seals.
    pub async fn new<W: World>(
        settings: Seal,
        before: Option<Time>,
        world: &W,
    ) -> Result<Self, SealingError> {
        let configured = Configured::new(settings);
        let identity = configured.unsealed.identity(world).await?;
        configured.admits(identity.recipient())?;
        Ok(Self {
            configured,
            identity,
            before,
        })
    }

    /// What becomes, at the time `now`, of a value that was found under `name`. One that is not sealed is
    /// taken for genuine only where `accept_unsealed` says so: else the signature of this node would be
    /// for whoever can write to the key store.
    ///
    /// # Errors
    /// It is not sealed and should be, does not open, is no key, or can't be sealed.
    pub fn rewrap(
        &self,
        crypto: &dyn Crypto,
        random: &mut Random<'_>,
        now: Time,
        name: &Name,
        value: &[u8],
    ) -> Result<Rewrapped, CannotRewrap> {
        let mut seal = |plaintext: &[u8]| {
            Key::from_stored(plaintext).map_err(CannotRewrap::NoKey)?;
            let configured = &self.configured;
            let sealed = configured.seal(crypto, random, now, name, plaintext, &self.identity);
            sealed.map_err(CannotRewrap::Sealing)
        };
        if !seal::is_sealed(value) {
            if !self.configured.accept_unsealed {
                return Err(CannotRewrap::NotSealed);
            }
            return seal(value).map(Rewrapped::Sealed);
        }
        let opened = self.configured.open(crypto, name, value, &self.identity);
        let opened = opened.map_err(CannotRewrap::Sealing)?;
        if self.is_wanted(&opened) {
            return Ok(Rewrapped::Unchanged);
        }
        seal(&opened.plaintext).map(Rewrapped::Resealed)
    }

    fn is_wanted(&self, opened: &Opened) -> bool {
        let is_recent = self
            .before
            .is_none_or(|before| opened.header.sealed_at >= before);
        is_recent && self.configured.wants(opened)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Unseal;
    use crate::crypto::RustCrypto;
    use crate::outgoing::{Fault, Request, Response};
    use crate::seal::{CannotOpen, Header, Recipient};

    /// A world that nothing is asked of: the identity is in the configuration.
    struct Nowhere;

    impl World for Nowhere {
        fn now(&self) -> Time {
            Time::from_nanos(0)
        }

        fn random(&self, _: &mut [u8]) {
            panic!("nothing is drawn here");
        }

        async fn sleep(&self, _: Duration) {}

        async fn fetch(&self, _: Request) -> Result<Response, Fault> {
            Err(Fault::TimedOut)
        }

        async fn file(&self, _: &str) -> Result<Zeroizing<Vec<u8>>, String> {
            Err("there is none".to_owned())
        }

        fn log_error(&self, _: &str) {}
    }

    fn at_once<T>(future: impl Future<Output = T>) -> T {
        let Poll::Ready(value) = pin!(future).poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("it waits");
        };
        value
    }

    /// Each time other bytes.
    fn random() -> impl FnMut(&mut [u8]) {
        let mut next = 0_u8;
        move |bytes: &mut [u8]| {
            for byte in bytes {
                next = next.wrapping_mul(5).wrapping_add(1);
                *byte = next;
            }
        }
    }

    fn node(seed: u8) -> Rc<NodeIdentity> {
        Rc::new(NodeIdentity::generate(&mut |bytes| bytes.fill(seed)))
    }

    fn recipients_of(nodes: &[&Rc<NodeIdentity>]) -> Vec<Recipient> {
        nodes.iter().map(|node| node.recipient().clone()).collect()
    }

    fn new(
        node: &Rc<NodeIdentity>,
        recipients: &[&Rc<NodeIdentity>],
        signers: &[&Rc<NodeIdentity>],
        before: Option<u64>,
    ) -> Result<Rewrapper, SealingError> {
        let settings = Seal {
            recipients: recipients_of(recipients),
            signers: recipients_of(signers),
            unseal: Unseal::Identity(node.text().parse().unwrap()),
            accept_unsealed: true,
        };
        at_once(Rewrapper::new(
            settings,
            before.map(Time::from_nanos),
            &Nowhere,
        ))
    }

    fn name() -> Name {
        Name::new("k").unwrap()
    }

    fn key() -> Zeroizing<String> {
        Key::create(&mut random(), jiff::Timestamp::UNIX_EPOCH, None).to_stored()
    }

    /// What becomes of it so many nanoseconds after the epoch.
    fn rewrapped(by: &Rewrapper, value: &[u8], now: u64) -> Result<Rewrapped, CannotRewrap> {
        let now = Time::from_nanos(now);
        by.rewrap(&RustCrypto, &mut random(), now, &name(), value)
    }

    fn sealed(by: &Rewrapper, value: &str, now: u64) -> Zeroizing<String> {
        match rewrapped(by, value.as_bytes(), now).unwrap() {
            Rewrapped::Sealed(text) => text,
            _ => panic!("it was sealed"),
        }
    }

    fn resealed(by: &Rewrapper, value: &str, now: u64) -> Option<Zeroizing<String>> {
        match rewrapped(by, value.as_bytes(), now).unwrap() {
            Rewrapped::Resealed(text) => Some(text),
            Rewrapped::Unchanged => None,
            Rewrapped::Sealed(_) => panic!("it was not sealed"),
        }
    }

    #[test]
    fn a_value_is_sealed_once_and_then_left_alone() {
        let (one, two) = (node(1), node(2));
        let rewrapper = new(&one, &[&one, &two], &[&one, &two], None).unwrap();
        // With the line's end that some tools write: it opens as what it was.
        let value = format!("{}\n", *key());
        let text = sealed(&rewrapper, &value, 7);
        let trusted = [one.recipient().clone()];
        let opened = seal::open(&RustCrypto, text.as_bytes(), &name(), &two, &trusted).unwrap();
        assert_eq!(*opened.plaintext, value.as_bytes());
        assert_eq!(opened.header.sealed_at, Time::from_nanos(7));
        assert!(resealed(&rewrapper, &text, 8).is_none());
        // In whatever order, and by whichever signer.
        let other = new(&two, &[&two, &one, &two], &[&two, &one], None).unwrap();
        assert!(resealed(&other, &text, 8).is_none());
    }

    #[test]
    fn a_value_that_is_not_sealed_is_sealed_only_where_that_is_accepted() {
        let one = node(1);
        let mut rewrapper = new(&one, &[&one], &[&one], None).unwrap();
        rewrapper.configured.accept_unsealed = false;
        let refused = rewrapped(&rewrapper, key().as_bytes(), 7).err();
        assert_eq!(refused, Some(CannotRewrap::NotSealed));
    }

    #[test]
    fn other_recipients_have_it_sealed_again() {
        let (one, two, three) = (node(1), node(2), node(3));
        let everybody = [&one, &two, &three];
        let old = sealed(
            &new(&one, &[&one, &two], &everybody, None).unwrap(),
            &key(),
            7,
        );
        for recipients in [&[&two] as &[_], &[&two, &three], &everybody] {
            let rewrapper = new(&two, recipients, &everybody, None).unwrap();
            let text = resealed(&rewrapper, &old, 8).unwrap();
            let signers = [two.recipient().clone()];
            let open = |node| seal::open(&RustCrypto, text.as_bytes(), &name(), node, &signers);
            for node in everybody {
                let is_one = recipients.iter().any(|it| Rc::ptr_eq(it, node));
                assert_eq!(open(node).is_ok(), is_one);
            }
            assert!(resealed(&rewrapper, &text, 9).is_none());
        }
    }

    #[test]
    fn what_is_from_before_a_time_is_sealed_again_once() {
        let one = node(1);
        let old = sealed(&new(&one, &[&one], &[&one], None).unwrap(), &key(), 7);
        let since = |before| new(&one, &[&one], &[&one], Some(before)).unwrap();
        assert!(resealed(&since(7), &old, 9).is_none());
        let text = resealed(&since(8), &old, 9).unwrap();
        assert_ne!(*text, *old);
        assert!(resealed(&since(8), &text, 10).is_none());
    }

    #[test]
    fn what_does_not_open_or_is_no_key_is_left() {
        let (one, two) = (node(1), node(2));
        let old = sealed(&new(&one, &[&one], &[&one], None).unwrap(), &key(), 7);
        let error = |by: &Rewrapper, value: &[u8]| rewrapped(by, value, 8).err();
        let open = |why| Some(CannotRewrap::Sealing(SealingError::Open(why)));
        let fingerprint = |node: &NodeIdentity| node.recipient().fingerprint();
        assert_eq!(
            error(&new(&two, &[&two], &[&two], None).unwrap(), old.as_bytes()),
            open(CannotOpen::Stranger(fingerprint(&one)))
        );
        assert_eq!(
            error(
                &new(&two, &[&two], &[&two, &one], None).unwrap(),
                old.as_bytes()
            ),
            open(CannotOpen::NotForThisNode {
                node: fingerprint(&two),
                recipients: vec![fingerprint(&one)]
            })
        );
        let rewrapper = new(&one, &[&one], &[&one], None).unwrap();
        let no_key = Some(CannotRewrap::NoKey(CorruptKey::WrongLength { length: 0 }));
        assert_eq!(error(&rewrapper, b""), no_key);
        // A record that holds something else.
        let header = Header {
            name: name(),
            sealed_at: Time::from_nanos(7),
        };
        let recipients = [one.recipient().clone(), two.recipient().clone()];
        let text = seal::seal(&RustCrypto, &mut random(), b"", &header, &recipients, &one);
        assert_eq!(error(&rewrapper, text.unwrap().as_bytes()), no_key);
    }

    #[test]
    fn who_would_not_open_it_again_seals_nothing() {
        let (one, two) = (node(1), node(2));
        let one_is = one.recipient().fingerprint();
        assert_eq!(
            new(&one, &[&two], &[&one], None).err(),
            Some(SealingError::NoRecipient(one_is))
        );
        assert_eq!(
            new(&one, &[&one], &[&two], None).err(),
            Some(SealingError::NoSigner(one_is))
        );
    }

    proptest! {
        #[test]
        fn whatever_is_stored_is_refused_or_sealed(value: Vec<u8>, is_record: bool) {
            let one = node(1);
            let rewrapper = new(&one, &[&one], &[&one], None).unwrap();
            let mut stored = if is_record { b"sealedge:v1:".to_vec() } else { Vec::new() };
            stored.extend(value);
            let is_key = Key::from_stored(&stored).is_ok();
            prop_assert_eq!(rewrapped(&rewrapper, &stored, 8).is_ok(), is_key);
        }
    }
}
