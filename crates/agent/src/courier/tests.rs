//! What an agent makes of a delivery, against a receiver that writes down what it gets.

use std::net::SocketAddr;

use brokkr_api::Timestamp;
use brokkr_webhooks::{AttemptClass, Guard, Secret, Verifier, signatures};
use http::HeaderMap;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

use super::*;

const NOW: i64 = 1_767_225_600;
const BODY: &str = r#"{"type":"stack.created"}"#;

/// A receiver that takes everything, and tells what it got.
async fn receiver() -> (SocketAddr, mpsc::UnboundedReceiver<String>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = Vec::new();
            while !text.ends_with(b"}") && stream.read_buf(&mut text).await.unwrap_or(0) > 0 {}
            tell.send(String::from_utf8(text).unwrap()).ok();
            stream
                .write_all(b"HTTP/1.1 503 Busy\r\nretry-after: 30\r\ncontent-length: 22\r\n\r\nsorry, Bearer hunter2!")
                .await
                .ok();
        }
    });
    (address, told, tasks)
}

fn delivery(url: &str, secret: &Secret) -> DeliveryToSend {
    let id = "019b76da-a800-7000-8000-000000000000";
    let signature = signatures(std::slice::from_ref(secret), id, NOW, BODY.as_bytes());
    serde_json::from_value(json!({
        "id": id, "token": 3, "webhook_id": id, "webhook": "chat", "type": "stack.created", "attempt": 2, "url": url, "body": BODY, "timeout_seconds": 15,
        "headers": {"webhook-id": id, "webhook-timestamp": NOW.to_string(), "webhook-signature": signature,
            "content-type": "application/json", "authorization": "Bearer hunter2"},
        "traceparent": true, "tracestate": false,
        "trace": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "relation": "link"},
    }))
    .unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_micros(NOW * 1_000_000)
}

#[tokio::test]
async fn what_was_signed_elsewhere_arrives_as_it_was_signed_and_is_reported_without_what_is_secret() {
    let (address, mut told, _tasks) = receiver().await;
    let guard = Guard { networks: vec!["127.0.0.0/8".parse().unwrap()], ports: vec![address.port()], http: true };
    let sender = Sender::new(guard, "test", None).unwrap();
    let secret = Secret::hmac([1; 32]);
    let delivery = delivery(&format!("http://{address}/hook"), &secret);
    let id = delivery.id;
    let attempt = sender.send(parcel::message(delivery).unwrap(), now()).await;
    let request = told.recv().await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let headers: HeaderMap = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let verifier = Verifier::parse(&secret.for_receiver()).unwrap();
    assert_eq!(verifier.verify(&headers, body.as_bytes(), NOW).unwrap(), id.to_string());
    assert_eq!(headers["authorization"], "Bearer hunter2");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers.get_all("content-type").iter().count(), 1);

    let report = parcel::report(id, 3, attempt);
    assert_eq!((report.token, report.result.as_str(), report.status), (3, "server_error", Some(503)));
    assert_eq!((report.answer.as_str(), report.retry_after_seconds), ("sorry, ***!", Some(30)));
}

#[tokio::test]
async fn what_the_agent_may_not_reach_is_not_reached_whoever_handed_it_out() {
    let (address, mut told, _tasks) = receiver().await;
    let secret = Secret::hmac([1; 32]);
    let open = Guard { ports: vec![address.port()], http: true, ..Guard::default() };
    for (guard, host) in [(Guard::default(), "127.0.0.1"), (open.clone(), "127.0.0.1"), (open, "localhost")] {
        let sender = Sender::new(guard, "test", None).unwrap();
        let delivery = delivery(&format!("http://{host}:{}/hook", address.port()), &secret);
        let attempt = sender.send(parcel::message(delivery).unwrap(), now()).await;
        assert_eq!((attempt.class, attempt.status), (AttemptClass::Blocked, None), "{host}: {}", attempt.excerpt);
    }
    assert!(told.try_recv().is_err(), "it was reached");
}

#[test]
fn what_cannot_be_a_message_is_said_without_its_content() {
    let secret = Secret::hmac([1; 32]);
    let with = |change: &dyn Fn(&mut DeliveryToSend)| {
        let mut delivery = delivery("https://example.com/", &secret);
        change(&mut delivery);
        parcel::message(delivery).map(drop)
    };
    assert_eq!(with(&|_| {}), Ok(()));
    assert_eq!(with(&|delivery| delivery.url = "hunter2".to_owned()), Err("the URL is malformed"));
    let header = |name: &str, value: &str| {
        let (name, value) = (name.to_owned(), value.to_owned());
        with(&move |delivery| drop(delivery.headers.insert(name.clone(), value.clone())))
    };
    assert_eq!(header("a b", "c"), Err("the name of a header is malformed"));
    assert_eq!(header("a", "b\r\nc: d"), Err("the value of a header is malformed"));
}
