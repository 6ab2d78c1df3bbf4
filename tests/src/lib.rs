//! The harness for development and tests: real programs, started for one test run and gone after it.
//!
//! - [`control_plane`]: etcd, kube-apiserver, controllers and KWOK, with [`cluster`] to look into it;
//! - [`postgres`]: a private PostgreSQL server, one database per test;
//! - [`otlp`]: an OTLP receiver that shows what arrived as a tree and as shares of the time;
//! - [`prometheus`] and [`collector`]: a real Prometheus with promtool, and a real OpenTelemetry Collector;
//! - [`shipwright`]: the real controllers of Shipwright and Tekton;
//! - [`zipkin`]: a real backend for traces;
//! - [`dashboards`]: the Grafana dashboards that we ship;
//! - [`receiver`]: a receiver of webhooks, as bad as it is told to be;
//! - [`simulator`]: thousands of agents in one process, to measure a broker with;
//! - [`kube_proxy`]: faults on the way to the API server, call by call;
//! - [`fault_table`]: what can go wrong, how it is brought about, and the span that tells it;
//! - [`marks`]: secrets that are searched for in everything that is emitted;
//! - [`watch`]: one secret that is in every test, and the search for it in every byte that daemons emit;
//! - [`charts`]: what follows from the values of a chart;
//! - [`process`]: our own executables as child processes, [`http`] to talk to them;
//! - [`lab`]: how all of these are started so that nothing survives a failed or killed test.
//!
//! Programs that outlive one test (the first two) belong to the executable `brokkr-lab`, which ends them when the
//! pipe to its creator closes: at the end of a test run, after a panic, and after `kill -9`.

pub mod certificate;
pub mod charts;
pub mod cluster;
pub mod collector;
pub mod control_plane;
pub mod dashboards;
pub mod evidence;
pub mod fault_table;
pub mod fleet;
pub mod http;
pub mod kube_proxy;
pub mod lab;
pub mod marks;
pub mod otlp;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod receiver;
pub mod shipwright;
pub mod simulator;
pub mod watch;
pub mod zipkin;
