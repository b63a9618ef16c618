//! Who seals and who opens, as text that people can copy.
//!
//! An identity is 32 secret bytes from which a node's keys follow; its recipient is their public
//! halves. Both are written in Bech32m (BIP 350), whose checksum finds a mistyped character.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use hkdf::Hkdf;
use p256::ecdsa::{SigningKey, VerifyingKey};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::hpke;
use crate::crypto::Random;
use crate::key::Secret;
use crate::secret_text::SecretText;

const IDENTITY: Hrp = Hrp::parse_unchecked("sealedge-identity-");
const RECIPIENT: Hrp = Hrp::parse_unchecked("sealedge");
/// The first byte under the checksum: an opening and a signing key, both on P-256.
const KIND_P256: u8 = 1;
/// A kind and two compressed points (SEC 1, 2.3.3).
const RECIPIENT_LENGTH: usize = 1 + 2 * POINT_LENGTH;
const POINT_LENGTH: usize = 33;

/// A node's secret, which opens and signs records. It wipes itself and is never shown by accident:
/// only [`NodeIdentity::text`] hands it out.
///
/// It stays at one place of the heap, so that moving the value leaves no copy behind.
pub struct NodeIdentity(Box<Keys>);

struct Keys {
    text: Zeroizing<String>,
    opening: SecretKey,
    signing: SigningKey,
    cache: Secret,
    recipient: Recipient,
}

impl NodeIdentity {
    /// A new identity.
    pub fn generate(random: &mut Random<'_>) -> Self {
        loop {
            if let Some(identity) = Self::from_seed(&Secret::random(random)) {
                return identity;
            }
        }
    }

    /// Nothing for a seed that no key follows from, one of about 2^8000.
    fn from_seed(seed: &Secret) -> Option<Self> {
        let opening = hpke::derive_key(derive(seed, b"sealedge:v1:opening")?.expose())?;
        let signing = hpke::derive_key(derive(seed, b"sealedge:v1:signing")?.expose())?;
        let signing = SigningKey::from(signing);
        let recipient = Recipient::of_keys(PublicKeys {
            opening: opening.public_key(),
            signing: *signing.verifying_key(),
        });
        Some(Self(Box::new(Keys {
            text: write_seed(seed)?,
            opening,
            signing,
            cache: cache_secret(seed)?,
            recipient,
        })))
    }

    /// The identity as text, `SEALEDGE-IDENTITY-1…`.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whom to seal for so that this identity can open it, and who signed what it sealed.
    pub fn recipient(&self) -> &Recipient {
        &self.0.recipient
    }

    /// The secret under which this node keeps its own caches, for [`super::cache`].
    pub fn cache_secret(&self) -> &Secret {
        &self.0.cache
    }

    pub(super) fn opening(&self) -> &SecretKey {
        &self.0.opening
    }

    pub(super) fn signing(&self) -> &SigningKey {
        &self.0.signing
    }
}

fn cache_secret(seed: &Secret) -> Option<Secret> {
    derive(seed, b"sealedge:v1:cache")
}

/// HKDF-SHA-256 without a salt (RFC 5869).
fn derive(seed: &Secret, info: &[u8]) -> Option<Secret> {
    let mut derived = Zeroizing::new([0; Secret::LENGTH]);
    let hkdf = Hkdf::<Sha256>::new(None, seed.expose());
    hkdf.expand(info, derived.as_mut_slice()).ok()?;
    Secret::copy_of(derived.as_slice())
}

fn write_seed(seed: &Secret) -> Option<Zeroizing<String>> {
    let mut payload = Zeroizing::new([KIND_P256; 1 + Secret::LENGTH]);
    for (to, from) in payload.iter_mut().skip(1).zip(seed.expose()) {
        *to = *from;
    }
    // Room for all of it, so that no shorter buffer is left behind unwiped.
    let mut text = Zeroizing::new(String::with_capacity(96));
    bech32::encode_upper_to_fmt::<Bech32m, _>(&mut *text, IDENTITY, payload.as_slice()).ok()?;
    Some(text)
}

impl FromStr for NodeIdentity {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        text.parse::<WrittenIdentity>()?.identity()
    }
}

/// An identity as it is written, from which no keys follow yet: that takes longer than to read it.
#[derive(Clone, PartialEq, Eq)]
pub struct WrittenIdentity(SecretText);

impl WrittenIdentity {
    /// Whether it is written like this, in capitals.
    pub fn is_written(&self, text: &str) -> bool {
        self.0.expose() == text
    }

    /// That of the identity, which takes no arithmetic on a curve: see [`NodeIdentity::cache_secret`].
    ///
    /// # Errors
    /// None follows from it.
    pub fn cache_secret(&self) -> Result<Secret, InvalidText> {
        let secret = cache_secret(&seed(self.0.expose())?);
        secret.ok_or(InvalidText::Contents)
    }

    /// The identity.
    ///
    /// # Errors
    /// No keys follow from it.
    pub fn identity(&self) -> Result<NodeIdentity, InvalidText> {
        let seed = seed(self.0.expose())?;
        NodeIdentity::from_seed(&seed).ok_or(InvalidText::Contents)
    }
}

impl FromStr for WrittenIdentity {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let written = write_seed(&seed(text)?).filter(|it| it.eq_ignore_ascii_case(text));
        let written = written.ok_or(InvalidText::Contents)?;
        Ok(Self(SecretText::new(written)))
    }
}

fn seed(text: &str) -> Result<Secret, InvalidText> {
    if begins(text, RECIPIENT) {
        return Err(InvalidText::Public);
    }
    if !begins(text, IDENTITY) {
        return Err(InvalidText::NotAnIdentity);
    }
    let payload = decode(text)?;
    let [KIND_P256, seed @ ..] = payload.as_slice() else {
        return Err(InvalidText::Kind);
    };
    Secret::copy_of(seed).ok_or(InvalidText::Contents)
}

/// A node's public keys: whom a record is sealed for, and whose signature is trusted.
///
/// They are read when they are first needed: to see that a number is a point of a curve takes arithmetic that few of
/// the requests for which a platform starts need.
#[derive(Clone)]
pub struct Recipient {
    payload: [u8; RECIPIENT_LENGTH],
    fingerprint: Fingerprint,
    keys: OnceLock<Option<PublicKeys>>,
}

#[derive(Clone)]
struct PublicKeys {
    opening: PublicKey,
    signing: VerifyingKey,
}

impl PublicKeys {
    /// Points have other encodings of the same length: only ours is taken.
    fn of_payload(payload: &[u8; RECIPIENT_LENGTH]) -> Option<Self> {
        let (opening, signing) = payload.get(1..)?.split_at_checked(POINT_LENGTH)?;
        let keys = Self {
            opening: PublicKey::from_sec1_bytes(opening).ok()?,
            signing: VerifyingKey::from_sec1_bytes(signing).ok()?,
        };
        (keys.to_payload() == *payload).then_some(keys)
    }

    fn to_payload(&self) -> [u8; RECIPIENT_LENGTH] {
        let (opening, signing) = (
            self.opening.to_sec1_point(true),
            self.signing.to_sec1_point(true),
        );
        let bytes = [KIND_P256]
            .iter()
            .chain(opening.as_bytes())
            .chain(signing.as_bytes());
        let mut payload = [0; RECIPIENT_LENGTH];
        for (to, from) in payload.iter_mut().zip(bytes) {
            *to = *from;
        }
        payload
    }
}

impl Recipient {
    fn of_payload(payload: [u8; RECIPIENT_LENGTH]) -> Self {
        let mut fingerprint = Fingerprint([0; 16]);
        for (to, from) in fingerprint.0.iter_mut().zip(Sha256::digest(payload)) {
            *to = from;
        }
        Self {
            payload,
            fingerprint,
            keys: OnceLock::new(),
        }
    }

    fn of_keys(keys: PublicKeys) -> Self {
        Self {
            keys: OnceLock::from(Some(keys.clone())),
            ..Self::of_payload(keys.to_payload())
        }
    }

    /// What a text says, though its keys may be none: then nothing can be sealed for it, and nothing it has signed
    /// opens. [`Recipient::from_str`] looks at them.
    ///
    /// # Errors
    /// It is not written as a recipient is.
    pub fn read(text: &str) -> Result<Self, InvalidText> {
        if begins(text, IDENTITY) {
            return Err(InvalidText::Secret);
        }
        if !begins(text, RECIPIENT) {
            return Err(InvalidText::NotARecipient);
        }
        let payload = decode(text)?;
        if payload.first() != Some(&KIND_P256) {
            return Err(InvalidText::Kind);
        }
        let payload = payload.as_slice().try_into();
        payload
            .map(Self::of_payload)
            .ok()
            .filter(|recipient| recipient.to_string().eq_ignore_ascii_case(text))
            .ok_or(InvalidText::Contents)
    }

    fn keys(&self) -> Option<&PublicKeys> {
        let keys = self
            .keys
            .get_or_init(|| PublicKeys::of_payload(&self.payload));
        keys.as_ref()
    }

    /// What records call it.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The key to seal for, if there is one.
    pub(super) fn opening(&self) -> Option<&PublicKey> {
        self.keys().map(|keys| &keys.opening)
    }

    /// The key by which it signs, if there is one.
    pub(super) fn signing(&self) -> Option<&VerifyingKey> {
        self.keys().map(|keys| &keys.signing)
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.payload == other.payload
    }
}

impl Eq for Recipient {}

/// `sealedge1…`
impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bech32::encode_lower_to_fmt::<Bech32m, _>(f, RECIPIENT, &self.payload)
            .map_err(|_| fmt::Error)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Recipient {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let recipient = Self::read(text)?;
        match recipient.keys() {
            Some(_) => Ok(recipient),
            None => Err(InvalidText::Contents),
        }
    }
}

/// Whether this is what the text says it is, in either case.
fn begins(text: &str, what: Hrp) -> bool {
    let mut bytes = text.bytes().map(|byte| byte.to_ascii_lowercase());
    let mut expected = what.byte_iter().chain([b'1']);
    expected.all(|byte| bytes.next() == Some(byte))
}

/// The bytes under the checksum.
fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, InvalidText> {
    let checked = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| InvalidText::Mistyped)?;
    let mut payload = Zeroizing::new(Vec::with_capacity(text.len()));
    payload.extend(checked.byte_iter());
    Ok(payload)
}

/// How records name a recipient or signer: the first 16 bytes of the SHA-256 of its payload.
///
/// Written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub(super) [u8; 16]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no identity or no recipient. No part of it is kept: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidText {
    /// An identity was expected, and the text is neither that nor a recipient.
    NotAnIdentity,
    /// A recipient was expected, and the text is neither that nor an identity.
    NotARecipient,
    /// An identity stands where a recipient belongs.
    Secret,
    /// A recipient stands where an identity belongs.
    Public,
    /// The checksum is wrong, or a character that Bech32m does not have.
    Mistyped,
    /// The first byte names a kind of keys that this version does not know.
    Kind,
    /// The checksum is right, but under it are no keys as sealedge writes them.
    Contents,
}

impl fmt::Display for InvalidText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnIdentity => "an identity begins with `SEALEDGE-IDENTITY-1`",
            Self::NotARecipient => "a recipient begins with `sealedge1`",
            Self::Secret => {
                "this is a secret identity, and its public recipient belongs here: if others \
                 can read this place, make a new identity"
            }
            Self::Public => {
                "this is a public recipient, and the secret identity that it belongs to, \
                 `SEALEDGE-IDENTITY-1…`, is needed here"
            }
            Self::Mistyped => "it is mistyped or cut off: copy all of it once more",
            Self::Kind => "it is of a kind that this version does not know: update sealedge",
            Self::Contents => "it was not written by sealedge: its keys can't be read",
        })
    }
}

impl std::error::Error for InvalidText {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(seed: u8) -> NodeIdentity {
        NodeIdentity::generate(&mut |bytes| bytes.fill(seed))
    }

    fn no_identity(text: &str) -> Option<InvalidText> {
        text.parse::<NodeIdentity>().err()
    }

    fn no_recipient(text: &str) -> Option<InvalidText> {
        text.parse::<Recipient>().err()
    }

    fn written(hrp: Hrp, payload: &[u8]) -> String {
        bech32::encode::<Bech32m>(hrp, payload).unwrap()
    }

    #[test]
    fn each_is_refused_in_the_others_place() {
        let identity = identity(1);
        let recipient = identity.recipient().to_string();
        assert_eq!(no_recipient(identity.text()), Some(InvalidText::Secret));
        assert_eq!(no_identity(&recipient), Some(InvalidText::Public));
        for text in ["", "age1", "sealedge", "sealedge-identity-", "seäledge1"] {
            assert_eq!(no_identity(text), Some(InvalidText::NotAnIdentity));
            assert_eq!(no_recipient(text), Some(InvalidText::NotARecipient));
        }
    }

    #[test]
    fn either_case_but_not_both() {
        let identity = identity(1);
        let recipient = identity.recipient();
        let lower: NodeIdentity = identity.text().to_lowercase().parse().unwrap();
        assert_eq!(lower.text(), identity.text());
        assert_eq!(
            recipient.to_string().to_uppercase().parse().as_ref(),
            Ok(recipient)
        );
        let mixed = recipient.to_string().replacen('s', "S", 1);
        assert_eq!(no_recipient(&mixed), Some(InvalidText::Mistyped));
    }

    #[test]
    fn one_wrong_character_anywhere_and_every_cut_are_found() {
        let identity = identity(1);
        let recipient = identity.recipient().to_string();
        for at in 0..recipient.len() {
            let mut text = recipient.clone().into_bytes();
            text[at] = if text[at] == b'q' { b'p' } else { b'q' };
            assert!(no_recipient(&String::from_utf8(text).unwrap()).is_some());
            assert!(no_recipient(recipient.get(..at).unwrap()).is_some());
        }
        for at in 0..identity.text().len() {
            let mut text = identity.text().as_bytes().to_vec();
            text[at] = if text[at] == b'Q' { b'P' } else { b'Q' };
            assert!(no_identity(&String::from_utf8(text).unwrap()).is_some());
            assert!(no_identity(identity.text().get(..at).unwrap()).is_some());
        }
    }

    #[test]
    fn only_what_we_write_is_under_the_checksum() {
        let identity = identity(1);
        let recipient = identity.recipient();
        let good = recipient.payload.to_vec();
        let mut kind = good.clone();
        kind[0] = 2;
        assert_eq!(
            no_recipient(&written(RECIPIENT, &kind)),
            Some(InvalidText::Kind)
        );
        // No point, a compact point of the same length, both with one byte more or less.
        let mut off_curve = good.clone();
        off_curve[2..34].fill(0xff);
        let mut compact = good.clone();
        compact[1] = 5;
        for bad in [
            &off_curve,
            &compact,
            &[&good[..], &[0]].concat(),
            &good[..66].to_vec(),
        ] {
            let refused = no_recipient(&written(RECIPIENT, bad));
            assert_eq!(refused, Some(InvalidText::Contents));
        }
        // One that is read without a look at its keys has none.
        for bad in [&off_curve, &compact] {
            let recipient = Recipient::read(&written(RECIPIENT, bad)).unwrap();
            assert!(recipient.opening().is_none() && recipient.signing().is_none());
        }
        for (payload, why) in [
            (vec![], InvalidText::Kind),
            (vec![2; 33], InvalidText::Kind),
            (vec![1; 32], InvalidText::Contents),
            (vec![1; 34], InvalidText::Contents),
        ] {
            assert_eq!(no_identity(&written(IDENTITY, &payload)), Some(why));
        }
    }

    #[test]
    fn the_keys_of_a_node_differ() {
        let identity = identity(1);
        let opening = identity.opening().to_bytes();
        let signing = identity.signing().to_bytes();
        assert_ne!(opening, signing);
        assert_ne!(opening.as_slice(), identity.cache_secret().expose());
        assert_ne!(signing.as_slice(), identity.cache_secret().expose());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn text_round_trips(seed: [u8; 32]) {
            let identity = NodeIdentity::generate(&mut |bytes| bytes.copy_from_slice(&seed));
            let again: NodeIdentity = identity.text().parse().unwrap();
            prop_assert_eq!(again.text(), identity.text());
            prop_assert_eq!(again.recipient(), identity.recipient());
            let recipient: Recipient = identity.recipient().to_string().parse().unwrap();
            prop_assert_eq!(&recipient, identity.recipient());
            prop_assert_eq!(recipient.fingerprint(), identity.recipient().fingerprint());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(SEALEDGE-IDENTITY-1|sealedge1)?[a-z0-9]{0,120}|.{0,80}") {
            prop_assert!(text.parse::<NodeIdentity>().is_err());
            prop_assert!(text.parse::<Recipient>().is_err());
        }

        #[test]
        fn any_payload_is_read_or_refused(mut payload: Vec<u8>, kind in 0u8..3) {
            payload.truncate(600);
            payload.insert(0, kind);
            for hrp in [IDENTITY, RECIPIENT] {
                let text = written(hrp, &payload);
                if let Ok(identity) = text.parse::<NodeIdentity>() {
                    prop_assert_eq!(identity.text().to_lowercase(), text.clone());
                }
                if let Ok(recipient) = text.parse::<Recipient>() {
                    prop_assert_eq!(recipient.to_string(), text);
                }
            }
        }
    }
}
