//! Decides who may call: a web page must not reach a server on its visitor's machine.
//!
//! A page's own requests carry its `Origin`; a page that had its name resolved to this
//! machine (DNS rebinding) carries its own name in `Host`. Both are checked before
//! anything else is read.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};

use super::HttpSettings;

/// Characters of a foreign header that an error repeats.
const SHOWN_CHARS_MAX: usize = 200;

/// Which hosts and origins are admitted.
pub(super) struct Guard {
    hosts: Vec<Pattern>,
    origins: Vec<Pattern>,
    bound_to: IpAddr,
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub status: StatusCode,
    pub message: String,
}

/// What a configured entry admits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Everything,
    /// `Origin: null`, of pages without one.
    Null,
    Name {
        /// `None` in patterns for hosts.
        scheme: Option<String>,
        host: String,
        port: Port,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Any,
    Only(u16),
}

impl Guard {
    /// Entries that can't be read admit nothing, and are logged.
    pub fn new(settings: &HttpSettings, bound_to: SocketAddr) -> Guard {
        let read = |entries: &[String], parse: fn(&str) -> Option<Pattern>, setting: &str| {
            let patterns = entries.iter().filter_map(|entry| {
                let pattern = parse(entry.trim());
                if pattern.is_none() {
                    tracing::warn!(entry, setting, "an entry can't be read and admits nothing");
                }
                pattern
            });
            patterns.collect()
        };
        Guard {
            hosts: read(&settings.allowed_hosts, host_pattern, "allowed_hosts"),
            origins: read(&settings.allowed_origins, origin_pattern, "allowed_origins"),
            bound_to: bound_to.ip(),
        }
    }

    /// # Errors
    /// Status and sentence for a host or an origin that may not call.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        self.check_host(uri, headers)?;
        // There may be several; one bad one is enough.
        for origin in headers.get_all(ORIGIN) {
            let text = String::from_utf8_lossy(origin.as_bytes());
            if !self.admits_origin(text.trim()) {
                return Err(forbidden(format!("the origin `{}` may not call this server; allow it in `allowed_origins`", shorten(&text))));
            }
        }
        Ok(())
    }

    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        let mut hosts = headers.get_all(HOST).iter().map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        // HTTP/2 has no `Host` but an authority.
        let host = hosts.next().or_else(|| uri.authority().map(|authority| authority.as_str().to_owned()));
        let bad = |message: &str| Refused { status: StatusCode::BAD_REQUEST, message: message.to_owned() };
        let host = host.ok_or_else(|| bad("the request has no `Host`"))?;
        if hosts.next().is_some() {
            return Err(bad("the request has more than one `Host`"));
        }
        let authority = plain_authority(&host).ok_or_else(|| bad("`Host` can't be read"))?;
        if self.admits_host(&authority) {
            return Ok(());
        }
        Err(forbidden(format!("the host `{}` is not one of this server; allow it in `allowed_hosts`", shorten(&host))))
    }

    fn admits_host(&self, authority: &Authority) -> bool {
        let host = normal(authority.host());
        is_loopback(&host)
            || (!self.bound_to.is_unspecified() && host.parse() == Ok(self.bound_to))
            || self.hosts.iter().any(|pattern| pattern.admits(None, &host, authority.port_u16()))
    }

    fn admits_origin(&self, origin: &str) -> bool {
        if origin.eq_ignore_ascii_case("null") {
            return self.origins.iter().any(|pattern| matches!(pattern, Pattern::Null | Pattern::Everything));
        }
        let Some((scheme, authority)) = split_origin(origin) else { return false };
        let host = normal(authority.host());
        let port = authority.port_u16().or(default_port(&scheme));
        let web = default_port(&scheme).is_some();
        (web && is_loopback(&host)) || self.origins.iter().any(|pattern| pattern.admits(Some(&scheme), &host, port))
    }
}

impl Pattern {
    fn admits(&self, scheme: Option<&str>, host: &str, port: Option<u16>) -> bool {
        match self {
            Pattern::Everything => true,
            Pattern::Null => false,
            Pattern::Name { scheme: wanted, host: name, port: only } => {
                wanted.as_deref() == scheme
                    && name == host
                    && match only {
                        Port::Any => true,
                        Port::Only(only) => port == Some(*only),
                    }
            }
        }
    }
}

/// `example.com` admits every port, `example.com:8080` that one.
fn host_pattern(entry: &str) -> Option<Pattern> {
    if entry == "*" {
        return Some(Pattern::Everything);
    }
    let bare = entry.strip_suffix(":*").unwrap_or(entry);
    // An IPv6 address may stand without brackets.
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(Pattern::Name { scheme: None, host: address.to_string(), port: Port::Any });
    }
    let authority = plain_authority(bare)?;
    let port = authority.port_u16().map_or(Port::Any, Port::Only);
    Some(Pattern::Name { scheme: None, host: normal(authority.host()), port })
}

/// `https://example.com` admits the scheme's own port, as browsers leave it out.
fn origin_pattern(entry: &str) -> Option<Pattern> {
    match entry {
        "*" => return Some(Pattern::Everything),
        "null" => return Some(Pattern::Null),
        _ => {}
    }
    let (bare, any) = entry.strip_suffix(":*").map_or((entry, false), |bare| (bare, true));
    let (scheme, authority) = split_origin(bare)?;
    let port = if any { Port::Any } else { Port::Only(authority.port_u16().or(default_port(&scheme))?) };
    Some(Pattern::Name { scheme: Some(scheme), host: normal(authority.host()), port })
}

/// Scheme, in lower case, and authority; a trailing `/` is forgiven.
fn split_origin(origin: &str) -> Option<(String, Authority)> {
    let (scheme, rest) = origin.split_once("://")?;
    let authority = plain_authority(rest.strip_suffix('/').unwrap_or(rest))?;
    Some((scheme.to_ascii_lowercase(), authority))
}

/// Host and port; user names have no place in either header.
fn plain_authority(text: &str) -> Option<Authority> {
    let authority = Authority::try_from(text).ok()?;
    (!text.contains('@') && !authority.host().is_empty()).then_some(authority)
}

/// Lower case, without the brackets of IPv6 and the dot of absolute names.
fn normal(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn forbidden(message: String) -> Refused {
    Refused { status: StatusCode::FORBIDDEN, message }
}

fn shorten(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &Guard, host: &str, origin: Option<&str>, expect: u16) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        let status = guard.check(&Uri::from_static("/mcp"), &headers).map_or_else(|refused| refused.status.as_u16(), |()| 200);
        assert_eq!(status, expect, "host {host}, origin {origin:?}");
    }

    #[test]
    fn by_default_only_this_machine_may_call() {
        let guard = Guard::new(&HttpSettings::default(), "10.0.0.5:8000".parse().unwrap());
        for host in ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "127.9.9.9", "[::1]:8000", "10.0.0.5:8000", "localhost."] {
            check(&guard, host, None, 200);
        }
        for host in ["evil.example", "localhost.evil.example:8000", "10.0.0.6", "0.0.0.0:8000"] {
            check(&guard, host, None, 403);
        }
        check(&guard, "not a host", None, 400);
        check(&guard, "evil.example@127.0.0.1", None, 400);
        for (origin, expect) in [
            ("http://localhost:3000", 200),
            ("https://127.0.0.1", 200),
            ("http://[::1]:5173", 200),
            ("https://evil.example", 403),
            ("http://localhost.evil.example", 403),
            ("http://localhost@evil.example", 403),
            ("http://evil.example#localhost", 403),
            ("chrome-extension://localhost", 403),
            ("null", 403),
            ("", 403),
            ("localhost", 403),
        ] {
            check(&guard, "localhost", Some(origin), expect);
        }
    }

    #[test]
    fn settings_admit_more() {
        let settings = HttpSettings {
            allowed_hosts: vec!["search.example".into(), "other.example:8443".into(), "fd00::1".into(), "???".into()],
            allowed_origins: vec!["https://app.example".into(), "http://dev.example:*".into(), "null".into(), "app://desktop:*".into()],
            ..HttpSettings::default()
        };
        let guard = Guard::new(&settings, "0.0.0.0:8000".parse().unwrap());
        for (host, expect) in [
            ("search.example:1", 200),
            ("SEARCH.example", 200),
            ("other.example:8443", 200),
            ("other.example", 403),
            ("[fd00::1]:8000", 200),
            ("0.0.0.0:8000", 403),
        ] {
            check(&guard, host, None, expect);
        }
        for (origin, expect) in [
            ("https://app.example", 200),
            ("https://app.example:443", 200),
            ("https://app.example:444", 403),
            ("http://app.example", 403),
            ("http://dev.example:1234", 200),
            ("null", 200),
            ("app://desktop", 200),
        ] {
            check(&guard, "localhost", Some(origin), expect);
        }
        let open = HttpSettings { allowed_hosts: vec!["*".into()], allowed_origins: vec!["*".into()], ..HttpSettings::default() };
        check(&Guard::new(&open, "0.0.0.0:8000".parse().unwrap()), "any.example", Some("https://any.example"), 200);
    }

    #[test]
    fn a_request_names_its_host_once() {
        let guard = Guard::new(&HttpSettings::default(), "127.0.0.1:8000".parse().unwrap());
        assert_eq!(guard.check(&Uri::from_static("/mcp"), &HeaderMap::new()).unwrap_err().status, 400);
        assert_eq!(guard.check(&Uri::from_static("http://localhost:8000/mcp"), &HeaderMap::new()), Ok(()));
        let mut twice = HeaderMap::new();
        twice.append(HOST, "localhost".parse().unwrap());
        twice.append(HOST, "evil.example".parse().unwrap());
        assert_eq!(guard.check(&Uri::from_static("/mcp"), &twice).unwrap_err().status, 400);
    }
}
