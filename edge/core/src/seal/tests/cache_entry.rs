use super::*;

#[test]
fn a_cache_entry_opens_under_its_name_and_secret_alone() {
    let [a, b] = [1, 2].map(identity);
    let header = header("my-key");
    let mut random = counter();
    let mut seal =
        || cache::seal(&RustCrypto, &mut random, SECRET, &header, a.cache_secret()).unwrap();
    let (entry, again) = (seal(), seal());
    let open = |entry: &[u8], under: &str, node: &NodeIdentity| {
        cache::open(&RustCrypto, entry, &name(under), node.cache_secret())
    };
    let (found, content) = open(&entry, "my-key", &a).unwrap();
    assert_eq!((found, content.as_slice()), (header.clone(), SECRET));
    assert_eq!(
        open(&entry, "my-key", &b).err(),
        Some(CannotOpen::NotAuthentic)
    );
    let moved = CannotOpen::OtherName(name("my-key"));
    assert_eq!(open(&entry, "other", &a).err(), Some(moved));
    assert_eq!(
        open(b"sealedge:v1:", "my-key", &a).err(),
        Some(CannotOpen::NotSealed)
    );
    // The salt, and with it the ciphertext.
    assert_ne!(entry[18..50], again[18..50]);
    assert_ne!(entry[65..], again[65..]);
    for bit in 0..entry.len() * 8 {
        let mut entry = entry.clone();
        entry[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&entry, "my-key", &a).is_err());
    }
    for length in 0..entry.len() {
        assert!(open(&entry[..length], "my-key", &a).is_err());
    }
}
