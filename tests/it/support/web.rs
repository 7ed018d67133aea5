//! A minimal HTTP client: one request per connection, and redirects only on demand.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A response.
#[derive(Debug)]
pub struct Page {
    /// The requested URL.
    pub url: String,
    /// The HTTP status.
    pub status: u16,
    /// The headers with their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: String,
}

impl Page {
    fn read(url: &str, response: &str) -> Self {
        let (head, body) =
            response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{url} answered {response:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Self { url: url.to_owned(), status, headers, body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The target of a redirect.
    pub fn location(&self) -> Option<String> {
        let location = self.header("location")?;
        if location.contains("://") {
            return Some(location.to_owned());
        }
        let (authority, _) = parts(&self.url);
        Some(format!("http://{authority}{location}"))
    }
}

/// Splits an `http` URL into host and port, and path.
pub fn parts(url: &str) -> (&str, String) {
    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url}"));
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let path = if rest[at..].starts_with('/') { rest[at..].to_owned() } else { format!("/{}", &rest[at..]) };
    (&rest[..at], path)
}

/// Requests one page.
pub fn get(url: &str) -> Page {
    let (authority, path) = parts(url);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    Page::read(url, &send(authority, &request).unwrap())
}

/// Follows all redirects from `url`, and returns every page in order.
pub fn follow(url: &str) -> Vec<Page> {
    let mut pages = vec![get(url)];
    while let Some(next) = pages.last().and_then(Page::location) {
        assert!(pages.len() < 10, "{pages:?}");
        pages.push(get(&next));
    }
    pages
}

/// Sends these bytes and returns the whole response.
pub fn send(authority: &str, request: &str) -> std::io::Result<String> {
    let authority = authority.replace("localhost", "127.0.0.1");
    let mut stream = TcpStream::connect(authority.parse::<SocketAddr>().unwrap())?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(request.as_bytes())?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}
