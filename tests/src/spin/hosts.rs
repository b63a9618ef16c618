//! Where a component may send requests: `allowed_outbound_hosts`.

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

/// The hosts that a manifest allows.
#[derive(Debug, Default)]
pub struct Hosts(Vec<Host>);

#[derive(Debug)]
struct Host {
    /// None: any.
    scheme: Option<String>,
    name: Name,
    ports: Range<u32>,
}

#[derive(Debug)]
enum Name {
    Any,
    /// With its first dot.
    Below(String),
    Network(IpNet),
    Exactly(String),
}

impl Hosts {
    /// Reads entries, in which no template is left.
    ///
    /// # Errors
    /// An entry is none, such as one without a scheme: Spin refuses it likewise.
    pub fn parse(entries: &[String]) -> Result<Self, String> {
        entries
            .iter()
            .map(|entry| Host::parse(entry).map_err(|why| format!("{entry:?}: {why}")))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a request may go there. Without a port: the scheme's own.
    pub fn allow(&self, scheme: &str, host: &str, port: Option<u16>) -> bool {
        let Some(port) = port.or_else(|| well_known(scheme)) else {
            return false;
        };
        self.0.iter().any(|allowed| {
            allowed.scheme.as_deref().is_none_or(|it| it == scheme)
                && allowed.name.is(host)
                && allowed.ports.contains(&port.into())
        })
    }
}

impl Host {
    fn parse(entry: &str) -> Result<Self, String> {
        let (scheme, rest) = entry.trim().split_once("://").ok_or("there is no scheme")?;
        let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
        let (port, path) = port.split_once('/').unwrap_or((port, ""));
        if !path.is_empty() {
            return Err("there is a path".into());
        }
        Ok(Self {
            scheme: (scheme != "*").then(|| scheme.to_owned()),
            name: Name::parse(host.trim_end_matches('/'))?,
            ports: ports(port, scheme)?,
        })
    }
}

impl Name {
    fn parse(host: &str) -> Result<Self, String> {
        if host == "*" {
            return Ok(Self::Any);
        }
        if let Ok(network) = host.parse() {
            return Ok(Self::Network(network));
        }
        if let Some(domain) = host.strip_prefix('*').filter(|it| it.starts_with('.')) {
            return Ok(Self::Below(domain.to_owned()));
        }
        if host.contains(['*', '/']) {
            return Err("this is no host".into());
        }
        Ok(Self::Exactly(host.to_owned()))
    }

    fn is(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Below(domain) => host.ends_with(domain),
            Self::Network(network) => {
                let address = host.parse::<IpAddr>();
                address.is_ok_and(|address| network.contains(&address))
            }
            Self::Exactly(name) => name == host,
        }
    }
}

/// A port, a range whose end is not part of it, or all.
fn ports(text: &str, scheme: &str) -> Result<Range<u32>, String> {
    let number = |text: &str| {
        text.parse::<u16>()
            .map(u32::from)
            .map_err(|it| it.to_string())
    };
    match text {
        "*" => Ok(0..65536),
        "" => {
            let port: u32 = well_known(scheme).ok_or("there is no port")?.into();
            Ok(port..port + 1)
        }
        _ => match text.split_once("..") {
            Some((first, end)) => Ok(number(first)?..number(end)?),
            None => number(text).map(|port| port..port + 1),
        },
    }
}

fn well_known(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}
