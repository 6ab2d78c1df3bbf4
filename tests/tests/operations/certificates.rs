use std::{path::PathBuf, time::Duration};

use brokkr_api::agents::CreateAgent;
use brokkr_tests::{
    fleet::LIMIT,
    http::install_tls,
    lab::{Scratch, free_port, until},
    process::{Daemon, Process},
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Certificate, Client, StatusCode, Version, header};

struct Broker {
    process: Process,
    base: String,
    folder: Scratch,
}

/// Writes a new pair and returns the certificate as PEM.
fn write_pair(folder: &Scratch) -> String {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    folder.write("tls.crt", cert.pem()).unwrap();
    folder.write("tls.key", signing_key.serialize_pem()).unwrap();
    cert.pem()
}

/// A client that believes this certificate alone.
fn client(certificate: &str) -> Client {
    install_tls();
    let root = Certificate::from_pem(certificate.as_bytes()).unwrap();
    Client::builder().tls_certs_only([root]).timeout(LIMIT).build().unwrap()
}

impl Broker {
    async fn start() -> (Self, String) {
        let folder = Scratch::new("tls").unwrap();
        let certificate = write_pair(&folder);
        let port = free_port().unwrap();
        let at = |name: &str| folder.path().join(name);
        let process = Daemon::new("brokkr-broker")
            .unwrap()
            .args(["serve"])
            .env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{port}"))
            .env("BROKKR__SERVER__TLS__CERTIFICATE_FILE", at("tls.crt"))
            .env("BROKKR__SERVER__TLS__KEY_FILE", at("tls.key"))
            .env("BROKKR__BOOTSTRAP__ADMIN_KEY_FILE", at("admin.key"))
            .start()
            .unwrap();
        let broker = Self { process, base: format!("https://localhost:{port}"), folder };
        broker.serves(&certificate).await;
        (broker, certificate)
    }

    /// Waits until new connections get this certificate.
    async fn serves(&self, certificate: &str) {
        let url = format!("{}/readyz", self.base);
        let look = || async {
            let answer = client(certificate).get(&url).send().await.map_err(|error| format!("{error:?}"))?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
        };
        until("the certificate", LIMIT, look).await.unwrap();
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("admin.key")
    }

    fn key(&self) -> String {
        std::fs::read_to_string(self.key_file()).unwrap().trim().to_owned()
    }

    async fn says(&self, what: &str) {
        tokio::time::timeout(LIMIT, self.process.output().line(|line| line.contains(what))).await.expect(what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_under_a_parked_poll_and_a_broken_one_is_refused() {
    let (broker, first) = Broker::start().await;
    let held = client(&first);
    let name = "edge".parse::<brokkr_api::Name>().unwrap();
    let request = CreateAgent { name: name.clone(), cluster: name, labels: brokkr_api::Labels::default() };
    let created = held.post(format!("{}/api/v1/agents", broker.base)).bearer_auth(broker.key()).json(&request);
    let agent: serde_json::Value = created.send().await.unwrap().json().await.unwrap();
    let poll = |etag: String, wait: &'static str| {
        let url = format!("{}/api/v1/agent/desired-state?wait={wait}", broker.base);
        let request =
            held.get(url).bearer_auth(agent["secret"].as_str().unwrap()).header("brokkr-protocol", brokkr_api::PROTOCOL_VERSION);
        request.header(header::IF_NONE_MATCH, etag).send()
    };
    let answer = poll(String::new(), "0s").await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    let etag = answer.headers()[header::ETAG].to_str().unwrap().to_owned();
    let parked = tokio::spawn(poll(etag.clone(), "10s"));

    let second = write_pair(&broker.folder);
    broker.serves(&second).await;
    assert!(client(&first).get(format!("{}/readyz", broker.base)).send().await.is_err(), "new connections get the new one");

    broker.folder.write("tls.key", "no key").unwrap();
    broker.says("the new certificate is refused").await;
    broker.serves(&second).await;
    std::fs::remove_file(broker.folder.path().join("tls.crt")).unwrap();
    broker.says("the new certificate cannot be read").await;
    broker.serves(&second).await;

    assert_eq!(parked.await.unwrap().unwrap().status(), StatusCode::NOT_MODIFIED, "the open connection stayed");
    assert_eq!(poll(etag, "0s").await.unwrap().status(), StatusCode::NOT_MODIFIED, "and is good for more");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_programs_believe_what_the_machine_believes_and_nothing_is_served_in_the_clear() {
    let (mut broker, _) = Broker::start().await;
    let cli = |believed: bool| {
        let mut cli = Daemon::new("brokkr").unwrap().args(["get", "stacks", "--broker", &broker.base]);
        if believed {
            cli = cli.env("SSL_CERT_FILE", broker.folder.path().join("tls.crt"));
        }
        cli.env("BROKKR_KEY_FILE", broker.key_file()).start().unwrap()
    };
    assert_eq!(cli(true).wait(LIMIT).await.unwrap().code(), Some(0));
    assert_eq!(cli(false).wait(LIMIT).await.unwrap().code(), Some(1), "a certificate that nobody vouches for");
    let plain = broker.base.replace("https:", "http:");
    assert!(Client::new().get(format!("{plain}/readyz")).send().await.is_err());
    assert!(broker.process.terminate(Duration::from_secs(30)).await.unwrap().success());
}
