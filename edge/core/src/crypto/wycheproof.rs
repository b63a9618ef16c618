//! Wycheproof's vectors against the very functions that the core calls.
//!
//! Each test counts, so that none passes because its vectors are gone.

use super::*;
use ::wycheproof::{TestResult, aead, ecdh, ecdsa, hkdf, mac};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};

type Seal = dyn Fn(&[u8; 32], &[u8; 12], &[u8], &mut Vec<u8>) -> Result<(), NotSealed>;
type Open = dyn Fn(&[u8; 32], &[u8; 12], &[u8], &mut Vec<u8>) -> Result<(), NotAuthentic>;

/// How many vectors our sizes of key and nonce fit, of which the tag always has 16 bytes.
fn aead(name: aead::TestName, seal: &Seal, open: &Open) -> usize {
    let mut count = 0;
    for group in aead::TestSet::load(name).unwrap().test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for test in group.tests {
            count += 1;
            let key = test.key.first_chunk().unwrap();
            let nonce = test.nonce.first_chunk().unwrap();
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let mut buffer = sealed.clone();
            let opened = open(key, nonce, &test.aad, &mut buffer);
            if test.result == TestResult::Valid {
                assert_eq!(
                    (opened, &buffer[..]),
                    (Ok(()), &test.pt[..]),
                    "{}",
                    test.tc_id
                );
                assert_eq!(seal(key, nonce, &test.aad, &mut buffer), Ok(()));
                assert_eq!(buffer, sealed, "{}", test.tc_id);
            } else {
                assert_eq!(opened, Err(NotAuthentic), "{}", test.tc_id);
                assert!(buffer.is_empty());
            }
        }
    }
    count
}

#[test]
fn aes_gcm() {
    let seal: &Seal =
        &|key, nonce, aad, buffer| RustCrypto.aes256_gcm_seal(key, nonce, aad, buffer);
    let open: &Open =
        &|key, nonce, aad, buffer| RustCrypto.aes256_gcm_open(key, nonce, aad, buffer);
    assert_eq!(aead(aead::TestName::AesGcm, seal, open), 66);
}

#[test]
fn chacha20_poly1305() {
    let seal = chacha20_poly1305_seal;
    let open = chacha20_poly1305_open;
    assert_eq!(aead(aead::TestName::ChaCha20Poly1305, &seal, &open), 316);
}

/// The key has 32 bytes, and a shorter one is filled up with zeros (RFC 2104, 2).
#[test]
fn hmac_sha256() {
    let mut count = 0;
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    for group in set.test_groups.iter().filter(|group| group.key_size <= 256) {
        for test in &group.tests {
            count += 1;
            let mut key = [0; 32];
            key[..test.key.len()].copy_from_slice(&test.key);
            let sum = RustCrypto.hmac_sha256(&key, &test.msg);
            let right = sum[..group.tag_size / 8] == test.tag[..];
            assert_eq!(right, test.result == TestResult::Valid, "{}", test.tc_id);
        }
    }
    assert_eq!(count, 168);
}

#[test]
fn hkdf_sha256() {
    let mut count = 0;
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        count += 1;
        let mut okm = vec![0; test.size];
        let hkdf = ::hkdf::Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm);
        let right = hkdf.expand(&test.info, &mut okm).is_ok() && okm == test.okm[..];
        assert_eq!(right, test.result == TestResult::Valid, "{}", test.tc_id);
    }
    assert_eq!(count, 86);
}

/// Ours are those with the lower of the two values that `s` may have.
#[test]
fn ecdsa_p256() {
    use crate::seal::signature::is_valid;
    let (mut count, mut high) = (0, 0);
    let name = ecdsa::TestName::EcdsaSecp256r1Sha256P1363;
    for group in ecdsa::TestSet::load(name).unwrap().test_groups {
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&group.key.key).unwrap();
        for test in group.tests {
            count += 1;
            let valid = test.result == TestResult::Valid;
            let parsed = p256::ecdsa::Signature::from_slice(&test.sig);
            let lower = parsed.map(|signature| signature.normalize_s().to_bytes().to_vec());
            let is_lower = lower.as_ref().is_ok_and(|lower| *lower == test.sig[..]);
            let ours = is_valid(&test.sig, &key, &test.msg);
            assert_eq!(ours, valid && is_lower, "{}", test.tc_id);
            if valid && !is_lower {
                high += 1;
                assert!(is_valid(&lower.unwrap(), &key, &test.msg), "{}", test.tc_id);
            }
        }
    }
    assert_eq!(count, 262);
    assert!(high > 0);
}

#[test]
fn ecdh_p256() {
    let mut count = 0;
    let set = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1Ecpoint).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        count += 1;
        let key = [&[0; 32], &test.private_key[..]].concat();
        let key = SecretKey::from_slice(&key[key.len() - 32..]).unwrap();
        // HPKE's encapsulated key is an uncompressed point and nothing else.
        let public = PublicKey::from_sec1_bytes(&test.public_key).ok();
        let public = public.filter(|it| it.to_sec1_point(false).as_bytes() == &test.public_key[..]);
        let shared = public
            .map(|public| p256::ecdh::diffie_hellman(key.to_nonzero_scalar(), public.as_affine()));
        let right = shared.is_some_and(|it| it.raw_secret_bytes()[..] == test.shared_secret[..]);
        assert_eq!(right, test.result == TestResult::Valid, "{}", test.tc_id);
    }
    assert_eq!(count, 355);
}
