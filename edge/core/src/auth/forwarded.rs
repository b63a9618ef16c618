//! Certificates in headers: the forms in which TLS proxies and clients write them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sfv::{BareItem, Item, List, ListEntry, Parser};
use x509_parser::pem::Pem;

use super::{Presented, signature};
use crate::route;

/// How a TLS proxy writes the certificate of a client into a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As URL-escaped PEM (RFC 7468): nginx's `$ssl_client_escaped_cert`.
    Pem,
    /// As a byte sequence, and the chain behind it in a header of its own (RFC 9440).
    ClientCert,
    /// As DER in base64 (RFC 4648, 4): haproxy's `%[ssl_c_der,base64]`.
    Der,
    /// Among what Envoy writes into `X-Forwarded-Client-Cert`, as the last proxy saw it.
    Xfcc,
}

impl Form {
    /// The forms by their names in the configuration.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("pem", Self::Pem),
        ("client-cert", Self::ClientCert),
        ("der", Self::Der),
        ("xfcc", Self::Xfcc),
    ];

    /// The header that it comes in unless the configuration names another one.
    pub const fn header(self) -> &'static str {
        match self {
            Self::Pem | Self::Der => "x-tls-client-cert",
            Self::ClientCert => signature::CERTIFICATE,
            Self::Xfcc => "x-forwarded-client-cert",
        }
    }

    /// Whether a value says that the client has no certificate.
    pub fn is_none(self, value: &[u8]) -> bool {
        let value = value.trim_ascii();
        value.is_empty() || (self == Self::ClientCert && value == b"::")
    }

    /// The certificate (DER) in this header of a request, and those behind it; `None` if a line of it is not
    /// as this form has it, or there is more than one.
    pub fn read(self, header: &str, presented: &Presented) -> Option<Vec<Vec<u8>>> {
        let value = presented.only(header).ok()??;
        match self {
            Self::Pem => Some(vec![pem(&route::decode(value)?)?]),
            Self::Der => Some(vec![STANDARD.decode(value).ok()?]),
            Self::ClientCert => {
                let chain = presented.only(signature::CHAIN).ok()?;
                let mut certificates = vec![client_cert(value)?];
                if let Some(chain) = chain {
                    certificates.extend(client_cert_chain(chain)?);
                }
                Some(certificates)
            }
            Self::Xfcc => xfcc(value),
        }
    }
}

/// How many certificates may come behind the client's: every path through them is looked at, before it is known
/// whether the client has rights.
const LONGEST_CHAIN: usize = 4;

/// The certificate (DER) of a `Client-Cert` (RFC 9440, 2.2).
pub fn client_cert(value: &str) -> Option<Vec<u8>> {
    let item: Item = Parser::new(value).parse().ok()?;
    bytes(item)
}

/// The certificates (DER) of a `Client-Cert-Chain` (RFC 9440, 2.3), in its order; `None` also if there are more
/// than four.
pub fn client_cert_chain(value: &str) -> Option<Vec<Vec<u8>>> {
    let list: List = Parser::new(value).parse().ok()?;
    if list.len() > LONGEST_CHAIN {
        return None;
    }
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

/// The certificate (DER) of a PEM text that is one certificate and nothing else. Headers of one name may be
/// joined on their way: then a client's own could stand before the proxy's.
fn pem(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let inside = text
        .strip_prefix("-----BEGIN CERTIFICATE-----")?
        .strip_suffix("-----END CERTIFICATE-----")?;
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(&byte);
    if !inside.bytes().all(is_base64) {
        return None;
    }
    let first = Pem::iter_from_buffer(text.as_bytes()).next()?;
    first.ok().map(|pem| pem.contents)
}

/// The certificate of the last element of Envoy's `X-Forwarded-Client-Cert`: the one that the proxy before us
/// has seen itself, and has not been told of. A `Hash` alone is the certificate of nobody, for anybody can say
/// it. Where there is a `Chain`, it begins with the certificate.
fn xfcc(value: &str) -> Option<Vec<Vec<u8>>> {
    let mut certificate = None;
    let mut chain = None;
    for (name, value) in last_element(value)? {
        let slot = match name.to_ascii_lowercase().as_str() {
            "cert" => &mut certificate,
            "chain" => &mut chain,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return None;
        }
    }
    let own = pem(&route::decode(certificate?)?)?;
    let Some(chain) = chain else {
        return Some(vec![own]);
    };
    let chain = route::decode(chain)?;
    let all = chain.split_inclusive(END).take(LONGEST_CHAIN + 2).map(pem);
    let all: Option<Vec<_>> = all.collect();
    let all = all.filter(|all| all.len() <= LONGEST_CHAIN + 1);
    all.filter(|all| all.first() == Some(&own))
}

const END: &str = "-----END CERTIFICATE-----\n";

/// A name and its value, without quotes and with its escapes: certificates have none.
type Pair<'a> = (&'a str, &'a str);

/// The pairs of the last element. Elements have commas between them, and their pairs, `name=value` or
/// `name="value"`, semicolons.
///
/// Envoy appends its element to what the client has sent, and that may end within quotes: so all of the header
/// is read, and refused if it is not well-formed to the letter, or if a value has an element in it. Each
/// element of Envoy's has a `Hash`.
fn last_element(text: &str) -> Option<Vec<Pair<'_>>> {
    let mut pairs = Vec::new();
    let mut rest = text;
    loop {
        let (pair, after) = first_pair(rest)?;
        pairs.push(pair);
        let mut after = after.trim_start_matches([' ', '\t']).chars();
        match after.next() {
            None => return Some(pairs),
            Some(';') => {}
            Some(',') => pairs.clear(),
            Some(_) => return None,
        }
        rest = after.as_str();
    }
}

/// The first pair, and what follows it.
fn first_pair(text: &str) -> Option<(Pair<'_>, &str)> {
    let (name, rest) = text.split_once('=')?;
    let name = name.trim_matches([' ', '\t']);
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let (value, after) = match rest.strip_prefix('"') {
        Some(quoted) => {
            let end = closing_quote(quoted)?;
            (quoted.get(..end)?, quoted.get(end + 1..)?)
        }
        None => {
            let end = rest.find([',', ';', '"']).unwrap_or(rest.len());
            rest.split_at_checked(end)?
        }
    };
    let has_element = value.to_ascii_lowercase().contains("hash=");
    (!has_element).then_some(((name, value), after))
}

/// Where the first quote is that no backslash stands before.
fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
    use proptest::prelude::*;

    const DER: &[u8] = b"some certificate";
    const OTHER: &[u8] = b"another";

    fn pem_of(der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    fn escaped(text: &str) -> String {
        percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string()
    }

    fn read(form: Form, lines: &[(&str, &str)]) -> Option<Vec<Vec<u8>>> {
        let headers = lines.iter();
        let headers = headers.map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        let presented = Presented {
            headers: headers.collect(),
            ..Presented::default()
        };
        form.read(form.header(), &presented)
    }

    fn one(form: Form, value: &str) -> Option<Vec<Vec<u8>>> {
        read(form, &[(form.header(), value)])
    }

    #[test]
    fn each_form_is_read() {
        let own = Some(vec![DER.to_vec()]);
        assert_eq!(one(Form::Pem, &escaped(&pem_of(DER))), own);
        assert_eq!(one(Form::Der, &STANDARD.encode(DER)), own);
        let field = format!(":{}:", STANDARD.encode(DER));
        assert_eq!(one(Form::ClientCert, &field), own);
        let chain = format!(":{}:, :{}:", STANDARD.encode(OTHER), STANDARD.encode(DER));
        let both = [("client-cert", &*field), ("client-cert-chain", &*chain)];
        let all = Some(vec![DER.to_vec(), OTHER.to_vec(), DER.to_vec()]);
        assert_eq!(read(Form::ClientCert, &both), all);
        let cert = escaped(&pem_of(DER));
        let chain = escaped(&(pem_of(DER) + &pem_of(OTHER)));
        for value in [
            format!("Cert=\"{cert}\""),
            format!("By=spiffe://a;Hash=00;Cert=\"{cert}\";Subject=\"CN=a,O=\\\"b;c\\\"\";URI="),
            format!("Cert=\"{}\",Hash=1;cert={cert}", escaped(&pem_of(OTHER))),
        ] {
            assert_eq!(one(Form::Xfcc, &value), own, "{value}");
        }
        let value = format!("Hash=1;Cert=\"{cert}\";Chain=\"{chain}\"");
        let all = Some(vec![DER.to_vec(), OTHER.to_vec()]);
        assert_eq!(one(Form::Xfcc, &value), all);
        for (length, is_read) in [(4, true), (5, false)] {
            let chain = vec![&*field; length].join(", ");
            let both = [("client-cert", &*field), ("client-cert-chain", &*chain)];
            assert_eq!(read(Form::ClientCert, &both).is_some(), is_read);
            let chain = escaped(&pem_of(DER).repeat(length + 1));
            let value = format!("Hash=1;Cert=\"{cert}\";Chain=\"{chain}\"");
            assert_eq!(one(Form::Xfcc, &value).is_some(), is_read);
        }
    }

    #[test]
    fn what_names_nobody_is_refused() {
        let (ours, other) = (escaped(&pem_of(DER)), escaped(&pem_of(OTHER)));
        for value in [
            "".to_owned(),
            "%zz".to_owned(),
            escaped(&(pem_of(DER) + &pem_of(OTHER))),
            format!("junk {ours}"),
            format!("{ours}, {other}"),
            format!("{ours}%00"),
            pem_of(DER).replace('\n', ""),
        ] {
            assert_eq!(one(Form::Pem, &value), None, "{value}");
        }
        let base64 = STANDARD.encode(DER);
        for value in [
            format!("{base64},{base64}"),
            format!(":{base64}:"),
            "%".to_owned(),
        ] {
            assert_eq!(one(Form::Der, &value), None, "{value}");
        }
        for value in [
            format!(":{base64}:, :{base64}:"),
            base64,
            "(:YQ==:)".to_owned(),
        ] {
            assert_eq!(one(Form::ClientCert, &value), None, "{value}");
        }
        for value in [
            "Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688".to_owned(),
            // The client's own element, before that of a proxy which saw no certificate.
            format!("Cert=\"{ours}\",Hash=1"),
            format!("Cert=\"{ours}\","),
            format!("Cert=\"{ours}\";Cert=\"{other}\""),
            format!("Cert=\"{ours}"),
            format!("Cert=\"{ours}\";Chain=\"{other}\""),
            format!("Cert=\"{ours}\";junk"),
            format!("Subject=\"Cert={ours}\""),
            // The client's quote swallows what the proxy appends.
            format!("Cert=\"{ours}\";Subject=\",Hash=1;Cert=\"{other}\""),
            format!("Cert=\"{ours}\";Subject=\"\\,Hash=1;Cert=\"{other}\""),
            format!("Cert=\"{ours}\";x=\",By=a;Hash=1;Subject=\"CN=a\""),
            format!("Cert=\"{ours}\";x=\",By=a;Hash=1;Cert=\"{other}\";Subject=\"CN=\\\"a\""),
            format!("Cert=\"{ours}\";x=\",Hash=1;URI=\";a=b"),
            format!("Cert=\"{ours}\"x"),
            format!("Cert=x\"{ours}\""),
            format!("Cert=\"{ours}\";"),
        ] {
            assert_eq!(one(Form::Xfcc, &value), None, "{value}");
        }
        for (_, form) in Form::NAMES {
            let twice = [(form.header(), &*ours), (form.header(), &*ours)];
            assert_eq!(read(form, &twice), None);
            assert_eq!(read(form, &[]), None);
        }
    }

    /// haproxy, by `%[ssl_c_der,base64]`, sends what is empty.
    #[test]
    fn a_client_without_a_certificate_is_told_from_a_malformed_one() {
        for (_, form) in Form::NAMES {
            assert!(form.is_none(b"") && form.is_none(b" \t"));
            assert_eq!(form.is_none(b"::"), form == Form::ClientCert);
            assert!(!form.is_none(b":") && !form.is_none(b":AA==:"));
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(value: String, chain: String) {
            for (_, form) in Form::NAMES {
                let _ = read(form, &[(form.header(), &value), (signature::CHAIN, &chain)]);
            }
        }

        /// What a client writes before it can't change what Envoy has appended.
        #[test]
        fn the_last_element_counts(
            before in "[A-Za-z=;:%0-9\"\\\\, ]{0,40}",
            name in "[a-z\"\\\\,;=]{0,10}",
        ) {
            let (own, victim) = (escaped(&pem_of(DER)), escaped(&pem_of(OTHER)));
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            for appended in [
                format!("By=a;Hash=0;Cert=\"{own}\";Subject=\"CN={name}\";URI=a"),
                format!("Hash=0;Cert=\"{own}\""),
                format!("Hash=0;Subject=\"CN={name}\";URI=a"),
            ] {
                let value = format!("Cert=\"{victim}\"{before},{appended}");
                let found = one(Form::Xfcc, &value);
                prop_assert!(found.is_none_or(|found| found == [DER]), "{value}");
            }
        }
    }
}
