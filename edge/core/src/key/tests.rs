use super::*;
use crate::crypto::RustCrypto;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prop::collection::vec;
use proptest::prelude::*;
use serde::Deserialize;
use std::collections::HashMap;

/// What a real KES wrote and answered: `README.md` in that folder says how.
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors");

#[derive(Deserialize)]
struct Vectors {
    keys: Vec<KeyVector>,
    ciphertexts: Vec<Sealed>,
    not_authentic: Vec<Refused>,
    hmac: Vec<Sum>,
}

#[derive(Deserialize)]
struct KeyVector {
    name: String,
    key: Option<String>,
    describe: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Sealed {
    key: String,
    form: String,
    context: String,
    plaintext: String,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Refused {
    key: String,
    why: String,
    context: String,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Sum {
    key: String,
    message: String,
    hmac: Option<String>,
    error: Option<String>,
}

fn vectors() -> Vectors {
    let text = std::fs::read(format!("{VECTORS}/vectors.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn stored_value(name: &str) -> Vec<u8> {
    std::fs::read(format!("{VECTORS}/keystore/{name}")).unwrap()
}

fn key(name: &str) -> Key {
    read(&stored_value(name))
}

fn read(value: &[u8]) -> Key {
    match Key::from_stored(value) {
        Ok(key) => key,
        Err(error) => panic!("{error}"),
    }
}

fn bytes(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap()
}

/// Randomness that repeats itself for the same seed (splitmix64).
fn random(mut seed: u64) -> impl FnMut(&mut [u8]) {
    move |bytes| {
        for byte in bytes {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 56) as u8;
        }
    }
}

fn imported(secret: [u8; 32], cipher: Cipher) -> Key {
    match Key::import(&secret, cipher, &mut random(1), UNKNOWN_TIME, None) {
        Ok(key) => key,
        Err(error) => panic!("{error}"),
    }
}

fn sealed(key: &Key, seed: u64, plaintext: &[u8], context: &[u8]) -> Vec<u8> {
    key.encrypt(&RustCrypto, &mut random(seed), plaintext, context)
        .unwrap()
}

fn opened(key: &Key, ciphertext: &[u8], context: &[u8]) -> Option<Vec<u8>> {
    let plaintext = key.decrypt(&RustCrypto, ciphertext, context).ok()?;
    Some(plaintext.to_vec())
}

#[test]
fn kes_ciphertexts_open() {
    let ciphertexts = vectors().ciphertexts;
    assert_eq!(ciphertexts.len(), 200);
    for case in ciphertexts {
        let plaintext = opened(
            &key(&case.key),
            &bytes(&case.ciphertext),
            &bytes(&case.context),
        );
        let expected = Some(bytes(&case.plaintext));
        assert_eq!(plaintext, expected, "{} {}", case.key, case.form);
    }
}

#[test]
fn what_kes_refuses_is_refused() {
    let refused = vectors().not_authentic;
    assert_eq!(refused.len(), 70);
    for case in refused {
        let ciphertext = bytes(&case.ciphertext);
        let answer = opened(&key(&case.key), &ciphertext, &bytes(&case.context));
        assert_eq!(answer, None, "{} {}", case.key, case.why);
    }
}

#[test]
fn kes_sums_are_ours() {
    let sums = vectors().hmac;
    assert_eq!(sums.len(), 10);
    for case in sums {
        let sum = key(&case.key).hmac(&RustCrypto, &bytes(&case.message));
        match (case.hmac, case.error) {
            (Some(expected), None) => assert_eq!(sum.unwrap().as_slice(), bytes(&expected)),
            (None, Some(expected)) => assert_eq!(sum.unwrap_err().to_string(), expected),
            _ => panic!("a sum or an error"),
        }
    }
}

#[test]
fn kes_keys_are_read() {
    let keys = vectors().keys;
    assert_eq!(keys.len(), 5);
    for case in keys {
        let key = key(&case.name);
        let mut described = HashMap::from([
            ("name".to_owned(), case.name.clone()),
            ("algorithm".to_owned(), key.cipher().to_string()),
            ("created_at".to_owned(), key.created_at().to_string()),
        ]);
        if let Some(created_by) = key.created_by() {
            described.insert("created_by".to_owned(), created_by.to_owned());
        }
        assert_eq!(described, case.describe);
        if let Some(secret) = case.key {
            assert_eq!(key.secret.expose().as_slice(), bytes(&secret));
        }
    }
}

#[test]
fn kes_keys_are_written_as_kes_writes_them() {
    for name in ["vector-aes", "vector-chacha", "vector-created"] {
        let value = stored_value(name);
        assert_eq!(key(name).to_stored().as_bytes(), value, "{name}");
        let with_line_feed = [value.as_slice(), b"\n"].concat();
        assert_eq!(read(&with_line_feed).to_stored().as_bytes(), value);
    }
}

#[test]
fn old_keys_survive_todays_form() {
    for name in ["vector-old-aes", "vector-old-chacha"] {
        let old = key(name);
        let new = read(old.to_stored().as_bytes());
        assert_eq!(new.hmac(&RustCrypto, b""), Err(NoHmacKey));
        assert_eq!(new.secret.expose(), old.secret.expose());
        assert_eq!(new.created_at(), old.created_at());
        assert_eq!(new.created_by(), old.created_by());
        assert_eq!(new.cipher(), old.cipher());
    }
}

#[test]
fn a_created_key_is_random_and_described() {
    let creator = Identity::from_bytes([0xab; 32]);
    let now = "2026-11-24T05:11:57.93Z".parse().unwrap();
    let key = Key::create(&mut random(5), now, Some(creator));
    assert_eq!(key.cipher(), Cipher::Aes256);
    assert_eq!(key.created_at().to_string(), "2026-11-24T05:11:57.93Z");
    assert_eq!(key.created_by(), Some("ab".repeat(32).as_str()));
    let hmac_secret = key.hmac_secret.as_ref().unwrap();
    assert_ne!(key.secret.expose(), hmac_secret.expose());

    let of_the_service = Key::create(&mut random(6), now, None);
    assert_eq!(of_the_service.created_by(), None);
    assert_ne!(of_the_service.secret.expose(), key.secret.expose());
}

#[test]
fn an_imported_key_has_32_bytes() {
    for length in [0, 4, 16, 31, 33, 64] {
        for cipher in [Cipher::Aes256, Cipher::ChaCha20] {
            let secret = vec![1; length];
            let key = Key::import(&secret, cipher, &mut random(1), UNKNOWN_TIME, None);
            assert_eq!(key.err(), Some(InvalidKeySize { cipher }));
        }
    }
    let error = InvalidKeySize {
        cipher: Cipher::Aes256,
    };
    assert_eq!(error.to_string(), "invalid key size for 'AES256'");
}

#[test]
fn ciphers_have_two_names_each() {
    for (name, cipher) in [
        ("AES256", Cipher::Aes256),
        ("AES256-GCM_SHA256", Cipher::Aes256),
        ("ChaCha20", Cipher::ChaCha20),
        ("XCHACHA20-POLY1305", Cipher::ChaCha20),
    ] {
        assert_eq!(name.parse(), Ok(cipher));
    }
    for name in ["", "AES128", "aes256", "AES256 ", "ChaCha20Poly1305"] {
        let error = name.parse::<Cipher>().unwrap_err();
        let message = format!("algorithm '{name}' is not supported");
        assert_eq!(error.to_string(), message);
    }
}

/// Some ciphertexts of the current form begin as the older forms do.
#[test]
fn a_current_ciphertext_may_begin_with_any_byte() {
    for cipher in [Cipher::Aes256, Cipher::ChaCha20] {
        let key = imported([7; 32], cipher);
        for first in [0x95, b'{'] {
            let ciphertext = (0..)
                .map(|seed| sealed(&key, seed, b"plaintext", b"context"))
                .find(|ciphertext| ciphertext[0] == first)
                .unwrap();
            let plaintext = opened(&key, &ciphertext, b"context");
            assert_eq!(plaintext.as_deref(), Some(b"plaintext".as_slice()));
        }
    }
}

/// A ciphertext in the MessagePack form, made of one in the current form.
fn messagepack(algorithm: &str, current: &[u8]) -> Vec<u8> {
    let (rest, nonce) = current.split_at(current.len() - 12);
    let (sealed, iv) = rest.split_at(rest.len() - 16);
    let mut buffer = rmp::encode::buffer::ByteBuf::new();
    rmp::encode::write_array_len(&mut buffer, 5).unwrap();
    rmp::encode::write_str(&mut buffer, algorithm).unwrap();
    rmp::encode::write_str(&mut buffer, "id").unwrap();
    for part in [iv, nonce, sealed] {
        rmp::encode::write_bin(&mut buffer, part).unwrap();
    }
    buffer.into_vec()
}

/// A ciphertext in the JSON form, made of one in the current form.
fn json(aead: &str, current: &[u8]) -> Vec<u8> {
    let (rest, nonce) = current.split_at(current.len() - 12);
    let (sealed, iv) = rest.split_at(rest.len() - 16);
    let [iv, nonce, sealed] = [iv, nonce, sealed].map(|part| STANDARD.encode(part));
    serde_json::json!({ "aead": aead, "id": 7, "iv": iv, "nonce": nonce, "bytes": sealed })
        .to_string()
        .into()
}

#[test]
fn an_old_ciphertext_names_its_keys_cipher() {
    let aes = imported([7; 32], Cipher::Aes256);
    let current = sealed(&aes, 1, b"plaintext", b"");
    for (good, ciphertext) in [
        (true, messagepack("AES256", &current)),
        (true, messagepack("AES256-GCM_SHA256", &current)),
        (false, messagepack("ChaCha20", &current)),
        (false, messagepack("", &current)),
        (false, [messagepack("AES256", &current), vec![0]].concat()),
        (true, json("AES-256-GCM-HMAC-SHA-256", &current)),
        (false, json("ChaCha20Poly1305", &current)),
        (false, json("AES256", &current)),
    ] {
        let name = String::from_utf8_lossy(&ciphertext);
        assert_eq!(opened(&aes, &ciphertext, b"").is_some(), good, "{name}");
    }
}

#[test]
fn secrets_wipe_themselves() {
    fn wipes_itself<T: zeroize::ZeroizeOnDrop>(_: &T) {}
    let key = imported([7; 32], Cipher::Aes256);
    wipes_itself(&key.secret);
    wipes_itself(&key.to_stored());
    let data_key = key
        .generate(&RustCrypto, &mut random(1), b"")
        .expect("a data key");
    wipes_itself(&data_key.plaintext);
    wipes_itself(&key.decrypt(&RustCrypto, &data_key.ciphertext, b"").unwrap());
}

fn ciphers() -> impl Strategy<Value = Cipher> {
    prop_oneof![Just(Cipher::Aes256), Just(Cipher::ChaCha20)]
}

proptest! {
    #[test]
    fn what_is_made_here_opens_here(
        secret: [u8; 32], cipher in ciphers(), seed: u64,
        plaintext in vec(any::<u8>(), 0..2000), context in vec(any::<u8>(), 0..200),
    ) {
        let key = imported(secret, cipher);
        let current = sealed(&key, seed, &plaintext, &context);
        prop_assert_eq!(current.len(), plaintext.len() + OVERHEAD);
        prop_assert_eq!(current.capacity(), current.len());
        let aead = match cipher {
            Cipher::Aes256 => "AES-256-GCM-HMAC-SHA-256",
            Cipher::ChaCha20 => "ChaCha20Poly1305",
        };
        let old = messagepack(cipher.as_str(), &current);
        for ciphertext in [json(aead, &current), old, current] {
            prop_assert_eq!(opened(&key, &ciphertext, &context), Some(plaintext.clone()));
        }
    }

    #[test]
    fn a_data_key_is_the_plaintext_of_its_ciphertext(
        secret: [u8; 32], cipher in ciphers(), seed: u64, context in vec(any::<u8>(), 0..200),
    ) {
        let key = imported(secret, cipher);
        let made = key.generate(&RustCrypto, &mut random(seed), &context);
        let made = made.expect("a data key");
        let plaintext = opened(&key, &made.ciphertext, &context);
        prop_assert_eq!(plaintext.as_deref(), Some(made.plaintext.expose().as_slice()));
    }

    #[test]
    fn what_is_changed_never_opens(
        secret: [u8; 32], cipher in ciphers(), seed: u64, at: prop::sample::Index, bit in 0..8u32,
        plaintext in vec(any::<u8>(), 0..100), context in vec(any::<u8>(), 0..100),
    ) {
        let key = imported(secret, cipher);
        let good = sealed(&key, seed, &plaintext, &context);
        let mut changed = good.clone();
        changed[at.index(good.len())] ^= 1u8 << bit;
        prop_assert_eq!(opened(&key, &changed, &context), None);
        prop_assert_eq!(opened(&key, &good[..at.index(good.len())], &context), None);
        prop_assert_eq!(opened(&key, &good, &[&context[..], b"x"].concat()), None);
        let mut other = secret;
        other[at.index(32)] ^= 1u8 << bit;
        prop_assert_eq!(opened(&imported(other, cipher), &good, &context), None);
        let other_cipher = match cipher {
            Cipher::Aes256 => Cipher::ChaCha20,
            Cipher::ChaCha20 => Cipher::Aes256,
        };
        prop_assert_eq!(opened(&imported(secret, other_cipher), &good, &context), None);
    }

    /// The old forms have bytes that mean nothing, such as the key's id.
    #[test]
    fn an_old_ciphertext_never_opens_to_anything_else(
        at: prop::sample::Index, byte: u8, case: prop::sample::Index,
    ) {
        let cases = vectors().ciphertexts;
        let case = &cases[case.index(cases.len())];
        let mut ciphertext = bytes(&case.ciphertext);
        let at = at.index(ciphertext.len());
        ciphertext[at] = byte;
        let plaintext = opened(&key(&case.key), &ciphertext, &bytes(&case.context));
        prop_assert!(plaintext.is_none_or(|plaintext| plaintext == bytes(&case.plaintext)));
    }

    #[test]
    fn random_bytes_never_open(
        cipher in ciphers(), first in prop_oneof![Just(0x95), Just(b'{'), any::<u8>()],
        rest in vec(any::<u8>(), 0..200),
    ) {
        let ciphertext = [&[first], rest.as_slice()].concat();
        prop_assert_eq!(opened(&imported([7; 32], cipher), &ciphertext, b""), None);
    }
}
