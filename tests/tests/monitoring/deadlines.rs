//! What ends by itself, told before it does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brokkr_api::{
    Timestamp,
    client::{ClientBuilder, KeySource},
    keys::{CreateKey, Role},
};
use brokkr_tests::{
    fleet::LIMIT,
    http::install_tls,
    lab::{Scratch, free_port, until},
    process::Daemon,
    prometheus::Target,
};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::world::watch;

const DAY: u64 = 24 * 3_600;

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_a_key_that_end_tomorrow_are_told_today() {
    install_tls();
    let scratch = Scratch::new("deadlines").unwrap();
    let tomorrow = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + DAY;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(tomorrow);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let file = scratch.write("tls.crt", certificate.pem()).unwrap();
    let key_file = scratch.write("tls.key", key.serialize_pem()).unwrap();
    let (port, admin_key) = (free_port().unwrap(), scratch.path().join("admin.key"));
    let _broker = Daemon::new("brokkr-broker")
        .unwrap()
        .args(["serve"])
        .env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{port}"))
        .env("BROKKR__SERVER__TLS__CERTIFICATE_FILE", &file)
        .env("BROKKR__SERVER__TLS__KEY_FILE", key_file)
        .env("BROKKR__DATABASE__URL", format!("sqlite:{}", scratch.path().join("brokkr.db").display()))
        .env("BROKKR__BOOTSTRAP__ADMIN_KEY_FILE", &admin_key)
        .start()
        .unwrap();
    let base = format!("https://localhost:{port}");
    let admin = ClientBuilder::new(&base, KeySource::File(admin_key)).unwrap();
    let admin = admin.authorities(certificate.pem().as_bytes()).unwrap().build().unwrap();
    let expires_at = i64::try_from(tomorrow * 1_000_000).ok().map(Timestamp::from_micros);
    let request = CreateKey {
        name: "pipeline".parse().unwrap(),
        role: Role::Admin,
        generator: None,
        agent: None,
        scopes: vec![],
        expires_at,
    };
    let look = || async { admin.create_key(&request).await.map_err(|error| format!("{error:?}")) };
    until("the broker", LIMIT, look).await.unwrap();

    let prometheus = watch(&[Target { authority: Some(file), ..Target::new("brokkr-broker", &base) }]).await;
    let told = [
        prometheus.fires("BrokkrCertificateExpires", LIMIT).await.unwrap(),
        prometheus.fires("BrokkrCertificateExpiresNow", LIMIT).await.unwrap(),
        prometheus.fires("BrokkrKeyExpires", LIMIT).await.unwrap(),
    ];
    for alert in told {
        assert!(alert.annotations["description"].contains("for another 23h "), "{}", alert.say());
    }
}
