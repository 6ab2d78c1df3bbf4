use std::io::Write;

use serde::Deserialize;

use super::*;

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Sample {
    server: Server,
    database: Database,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Server {
    listen: std::net::SocketAddr,
    workers: u16,
    share: f64,
    names: Vec<String>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Database {
    url: String,
    certificate: Option<String>,
    certificate_key: Option<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 3000).into(), workers: 2, share: 0.5, names: vec![] }
    }
}

impl Settings for Sample {
    fn check(&self, problems: &mut Problems) {
        problems.range("server.workers", u64::from(self.server.workers), 1..=64);
        let both = self.database.certificate.is_some() == self.database.certificate_key.is_some();
        problems.require(both, "database.certificate_key", "a certificate needs its key");
    }
}

fn load_sample(toml: &str, environment: &[(&str, &str)]) -> Result<Sample, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    load_from(Some(file.path()), environment.iter().map(|(name, text)| (name.into(), text.into())))
}

/// The problems as path and origin; the file is called `file`.
fn problems(toml: &str, environment: &[(&str, &str)]) -> Vec<(String, String)> {
    let ConfigError::Values(problems) = load_sample(toml, environment).unwrap_err() else { panic!("the file is read") };
    let origin =
        |origin: Option<String>| origin.map_or("-".to_owned(), |text| if text.contains('/') { "file".into() } else { text });
    problems.into_iter().map(|problem| (problem.path, origin(problem.origin))).collect()
}

fn expect(told: &[(String, String)], expected: &[(&str, &str)]) {
    let told: Vec<_> = told.iter().map(|(path, origin)| (path.as_str(), origin.as_str())).collect();
    assert_eq!(told, expected);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let sample = load_sample("[server]\nlisten = \"0.0.0.0:1\"\nworkers = 3\n", &[("BROKKR__SERVER__WORKERS", "7")]).unwrap();
    assert_eq!((sample.server.listen, sample.server.workers), (([0, 0, 0, 0], 1).into(), 7));
    assert_eq!(sample.database, Database::default());
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_path_and_where_it_comes_from() {
    let told = problems(
        "[server]\nlisten = \"somewhere\"\nshare = \"half\"\nport = 1\n[database]\ncertificate = \"x\"\n[sevrer]\nlisten = \"x\"\n",
        &[
            ("BROKKR__SERVER__WORKERS", "0"),
            ("BROKKR__DATABSE__URL", "sqlite:x"),
            ("BROKKR__SERVER__NAMES", "one"),
            ("HOME", "/"),
        ],
    );
    let expected = [
        ("server.listen", "file"),
        ("server.port", "file"),
        ("server.share", "file"),
        ("server.names", "BROKKR__SERVER__NAMES"),
        ("sevrer", "file"),
        ("databse", "BROKKR__DATABSE__URL"),
        ("server.workers", "BROKKR__SERVER__WORKERS"),
        ("database.certificate_key", "-"),
    ];
    expect(&told, &expected);
}

#[test]
fn a_variable_is_what_its_key_wants_it_to_be() {
    let sample = load_sample(
        "",
        &[
            ("BROKKR__DATABASE__URL", "12345"),
            ("BROKKR__SERVER__SHARE", "1"),
            ("BROKKR__SERVER__NAMES", "[\"a\", \"b\"]"),
            ("BROKKR__DATABASE__CERTIFICATE", "true"),
            ("BROKKR__DATABASE__CERTIFICATE_KEY", "[not toml"),
        ],
    )
    .unwrap();
    assert_eq!((&*sample.database.url, sample.server.share), ("12345", 1.0));
    assert_eq!(sample.server.names, ["a", "b"]);
    assert_eq!(sample.database.certificate.as_deref(), Some("true"));
    assert_eq!(sample.database.certificate_key.as_deref(), Some("[not toml"));
}

#[test]
fn a_variable_that_names_no_key_is_told() {
    expect(&problems("", &[("BROKKR__SERVER", "x")]), &[("server", "BROKKR__SERVER")]);
    expect(&problems("", &[("BROKKR__SERVER____X", "x")]), &[("server..x", "-")]);
    let below = [("BROKKR__SERVER__WORKERS", "1"), ("BROKKR__SERVER__WORKERS__X", "1")];
    expect(&problems("", &below), &[("server.workers.x", "-")]);
}

#[test]
fn the_value_of_a_secret_stands_in_no_message() {
    let error = load_sample("[database]\nurl = [\"hunter2\"]\n", &[]).unwrap_err().to_string();
    assert!(error.contains("database.url") && !error.contains("hunter2"), "{error}");
    let error = load_sample("[database]\nurl = \"hunter2\n", &[]).unwrap_err().to_string();
    assert!(error.contains("line 2, column ") && !error.contains("hunter2"), "{error}");
}

#[test]
fn each_problem_has_a_line_of_its_own() {
    let error = load_sample("[server]\nworkers = 99\nshare = true\n", &[]).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with("configuration: server.")), "{error}");
    assert!(error.contains("is 99; it must be 1 to 64"), "{error}");
}

#[test]
fn a_file_that_is_named_and_missing_is_an_error() {
    let error = load_from::<Sample>(Some(Path::new("no-such-file.toml")), std::iter::empty()).unwrap_err().to_string();
    assert!(error.contains("no-such-file.toml"), "{error}");
}

mod standard_variables {
    use brokkr_telemetry::config::{Exporter, TelemetryConfig};

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Daemon {
        telemetry: TelemetryConfig,
    }

    impl Settings for Daemon {
        fn check(&self, problems: &mut Problems) {
            check_telemetry(&self.telemetry, problems);
        }

        fn telemetry(&mut self) -> Option<&mut TelemetryConfig> {
            Some(&mut self.telemetry)
        }
    }

    fn load_daemon(toml: &str, environment: &[(&str, &str)]) -> Result<TelemetryConfig, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        let environment = environment.iter().map(|(name, text)| (name.into(), text.into()));
        load_from::<Daemon>(Some(file.path()), environment).map(|daemon| daemon.telemetry)
    }

    #[test]
    fn a_standard_variable_wins_over_ours_which_wins_over_the_file_which_wins_over_the_default() {
        let file = "[telemetry]\nsampling_rate = 0.2\nservice_name = \"file\"\nexporter = \"none\"";
        let ours = [("BROKKR__TELEMETRY__SAMPLING_RATE", "0.3"), ("BROKKR__TELEMETRY__SERVICE_NAME", "ours")];
        let standard = ("OTEL_SAMPLING_RATE", "0.4");
        let config = load_daemon(file, &[ours[0], ours[1], standard]).unwrap();
        assert_eq!((config.sampling_rate, config.service_name.as_deref(), config.exporter), (0.4, Some("ours"), Exporter::None));
        let origin = |key: &str| config.origins.of(key).to_owned();
        assert_eq!(origin("sampling_rate"), "OTEL_SAMPLING_RATE");
        assert_eq!(origin("service_name"), "BROKKR__TELEMETRY__SERVICE_NAME");
        assert!(origin("exporter").contains('/'), "{}", origin("exporter"));
        assert_eq!(origin("endpoint"), "default");
    }

    #[test]
    fn an_endpoint_switches_tracing_on_unless_something_says_whether_it_is() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        let config = load_daemon("", &[endpoint]).unwrap();
        assert!(config.enabled);
        assert_eq!((config.endpoint.as_deref(), config.origins.of("enabled")), (Some("http://collector:4317"), endpoint.0));
        assert!(!load_daemon("[telemetry]\nenabled = false", &[endpoint]).unwrap().enabled);
        assert!(!load_daemon("", &[endpoint, ("BROKKR__TELEMETRY__ENABLED", "false")]).unwrap().enabled);
        assert!(!load_daemon("", &[endpoint, ("OTEL_SDK_DISABLED", "true")]).unwrap().enabled);
        assert!(!load_daemon("", &[]).unwrap().enabled);
    }

    #[test]
    fn tables_are_merged_entry_by_entry() {
        let file = "[telemetry]\nheaders = { a = \"1\", b = \"1\" }\nresource = { team = \"x\" }";
        let variables = [("OTEL_EXPORTER_OTLP_HEADERS", "b=2"), ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=p")];
        let config = load_daemon(file, &variables).unwrap();
        let shown: Vec<_> = config.headers.iter().chain(&config.resource).map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(shown, ["a=1", "b=2", "k8s.pod.name=p", "team=x"]);
    }

    #[test]
    fn a_rate_that_is_no_number_is_an_error_that_names_where_it_comes_from() {
        for (name, value) in
            [("OTEL_SAMPLING_RATE", "lots"), ("BROKKR__TELEMETRY__SAMPLING_RATE", "lots"), ("OTEL_ENABLED", "maybe")]
        {
            let error = load_daemon("", &[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let error = load_daemon("[telemetry]\nsampling_rate = nan", &[]).unwrap_err().to_string();
        assert!(error.contains("telemetry.sampling_rate"), "{error}");
    }

    #[test]
    fn what_has_no_effect_is_noted_and_is_no_error() {
        let config = load_daemon("", &[("OTEL_PROPAGATORS", "b3"), ("OTEL_UNHEARD_OF", "1")]).unwrap();
        assert_eq!(config.origins.notes().len(), 2, "{:?}", config.origins.notes());
        assert!(!config.enabled);
    }

    #[test]
    fn half_a_client_certificate_is_an_error() {
        let error = load_daemon("", &[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem")]).unwrap_err().to_string();
        assert!(error.contains("telemetry.tls.certificate_file"), "{error}");
    }
}
