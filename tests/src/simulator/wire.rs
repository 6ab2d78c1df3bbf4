//! HTTP/1.1 over one kept connection, as little of it as the broker's answers need.
//!
//! A parked connection holds no buffer: thousands of them wait in one process.

use std::{io, pin::Pin, str::FromStr};

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial::{Dial, Stream};

/// Longest head of an answer.
const MAX_HEAD: usize = 16 * 1024;
const CHUNK: usize = 8 * 1024;

/// One connection to the broker.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Pin<Box<dyn Stream>>,
    host: String,
}

/// What the broker answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) etag: Option<String>,
    pub(super) body: Vec<u8>,
    /// The broker ends the connection after this answer.
    pub(super) closes: bool,
}

/// One request; everything of it is written at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) key: &'a str,
    pub(super) etag: Option<&'a str>,
    pub(super) body: Option<(&'a str, &'a [u8])>,
}

impl Request<'_> {
    fn to_bytes(self, host: &str) -> Vec<u8> {
        let Self { method, target, key, etag, body } = self;
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n{}: {}\r\n",
            brokkr_api::PROTOCOL_HEADER,
            brokkr_api::PROTOCOL_VERSION,
        );
        if let Some(etag) = etag {
            head += &format!("if-none-match: {etag}\r\n");
        }
        let mut bytes = match body {
            Some((content_type, body)) => {
                head += &format!("content-type: {content_type}\r\ncontent-length: {}\r\n\r\n", body.len());
                [head.as_bytes(), body].concat()
            }
            None => (head + "\r\n").into_bytes(),
        };
        bytes.shrink_to_fit();
        bytes
    }
}

impl Wire {
    /// Connects to the broker.
    pub(super) async fn connect(dial: &Dial) -> io::Result<Self> {
        Ok(Self { stream: dial.connect().await?, host: dial.host.clone() })
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn exchange(&mut self, request: Request<'_>) -> io::Result<Answer> {
        let bytes = request.to_bytes(&self.host);
        self.stream.write_all(&bytes).await?;
        drop(bytes);
        self.stream.flush().await?;
        self.receive().await
    }

    async fn receive(&mut self) -> io::Result<Answer> {
        // Most of the time is spent before the first byte, and thousands wait: the room for the rest is made when that has come.
        let mut first = [0];
        self.stream.read_exact(&mut first).await?;
        let mut read = Vec::with_capacity(CHUNK);
        read.extend(first);
        let end = loop {
            if self.stream.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if read.len() > MAX_HEAD {
                return Err(invalid("a head without an end"));
            }
        };
        let head = std::str::from_utf8(&read[..end]).map_err(|_| invalid("a head that is no text"))?;
        let (mut answer, length) = parse(head)?;
        answer.body = read.split_off(end + 4);
        answer.body.reserve_exact(length.saturating_sub(answer.body.len()));
        while answer.body.len() < length {
            if self.stream.read_buf(&mut answer.body).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(answer)
    }
}

/// Status, the headers that matter, and the length of the body.
fn parse(head: &str) -> io::Result<(Answer, usize)> {
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| StatusCode::from_str(code).ok());
    let status = status.ok_or_else(|| invalid("no status"))?;
    let mut answer = Answer { status, etag: None, body: Vec::new(), closes: false };
    let mut length = 0;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("etag") {
            answer.etag = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("connection") {
            answer.closes = value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("content-length") && status != StatusCode::NOT_MODIFIED {
            length = value.parse().map_err(|_| invalid("no length"))?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("a body in chunks"));
        }
    }
    Ok((answer, length))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer has {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_its_tag_and_the_length_of_its_body() {
        let (answer, length) = parse("HTTP/1.1 200 OK\r\nETag: \"e.7\"\r\nContent-Length: 12\r\nconnection: close").unwrap();
        assert_eq!((answer.status, answer.etag.as_deref(), length, answer.closes), (StatusCode::OK, Some("\"e.7\""), 12, true));
    }

    #[test]
    fn what_this_client_does_not_speak_is_an_error() {
        assert!(parse("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked").is_err());
        assert!(parse("nonsense").is_err());
    }
}
