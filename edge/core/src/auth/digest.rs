//! The digest of a body in the header `Content-Digest` (RFC 9530).

use sha2::{Digest, Sha256, Sha512};

use super::fields::byte_sequences;

/// The header.
pub const HEADER: &str = "content-digest";

/// What a body has to be like: by SHA-256, SHA-512 or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentDigest {
    sha256: Option<[u8; 32]>,
    sha512: Option<[u8; 64]>,
}

impl ContentDigest {
    /// Reads the header's value. Digests by other algorithms are ignored (RFC 9530, 2); `None` if none is
    /// left, or one of ours is no digest.
    pub fn parse(value: &str) -> Option<Self> {
        let [sha256, sha512] = byte_sequences(value, ["sha-256", "sha-512"])?;
        let digest = Self {
            sha256: whole(sha256)?,
            sha512: whole(sha512)?,
        };
        (digest.sha256.is_some() || digest.sha512.is_some()).then_some(digest)
    }

    /// Whether the body is the one that was meant.
    pub fn is_of(&self, body: &[u8]) -> bool {
        self.sha256
            .is_none_or(|digest| digest == *Sha256::digest(body))
            && self
                .sha512
                .is_none_or(|digest| digest == *Sha512::digest(body))
    }
}

/// A digest, if it is there; `None` if it has another length.
fn whole<const N: usize>(digest: Option<Vec<u8>>) -> Option<Option<[u8; N]>> {
    digest.map_or(Some(None), |bytes| Some(Some(bytes.try_into().ok()?)))
}

/// The header's value for a body, by SHA-256.
pub fn of(body: &[u8]) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 9530, appendix B.1: the digest of `{"hello": "world"}` and a line's end; and RFC 9421, B.2, which
    /// has it by SHA-512 and without the line's end.
    #[test]
    fn digests_of_the_standards() {
        let body = b"{\"hello\": \"world\"}\n";
        let sha256 = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        assert_eq!(of(body), sha256);
        let digest = ContentDigest::parse(sha256).unwrap();
        assert!(digest.is_of(body) && !digest.is_of(b"{\"hello\": \"world\"}"));
        let sha512 = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwE\
                      mTHWXvJwew==:";
        let digest = ContentDigest::parse(sha512).unwrap();
        assert!(digest.is_of(b"{\"hello\": \"world\"}") && !digest.is_of(body));
    }

    #[test]
    fn both_have_to_be_right() {
        let (right, wrong) = (of(b"a"), of(b"b"));
        let sha512 = "sha-512=:H0D8kttBfB+uNMv/Yf/ncFa3bLvvxb2wSYXRJNFTEZHIhG/ZUWlbpFAaF9SJ6z+Ltp4bDb1mP2gB\
                      ZJzW6n6oSw==:";
        let _ = ContentDigest::parse(sha512).unwrap();
        assert!(ContentDigest::parse(&right).unwrap().is_of(b"a"));
        assert!(!ContentDigest::parse(&wrong).unwrap().is_of(b"a"));
        let both = ContentDigest::parse(&format!("{right}, {sha512}")).unwrap();
        assert!(!both.is_of(b"a"));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for value in [
            "",
            "md5=:1B2M2Y8AsgTpgAmY7PhCfg==:",
            "sha-256",
            "sha-256=1",
            "sha-256=:YQ==:",
            "sha-256=(\"a\")",
            "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:, sha-512=:YQ==:",
            "nonsense=",
        ] {
            assert_eq!(ContentDigest::parse(value), None, "{value}");
        }
        let known = of(b"");
        assert!(ContentDigest::parse(&format!("md5=:YQ==:, {known}")).is_some());
    }

    proptest! {
        #[test]
        fn any_text_is_read(value: String, body: Vec<u8>) {
            let _ = ContentDigest::parse(&value);
            let digest = ContentDigest::parse(&of(&body)).unwrap();
            prop_assert!(digest.is_of(&body));
        }
    }
}
