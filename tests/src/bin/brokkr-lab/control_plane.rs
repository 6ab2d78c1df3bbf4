use crate::tell;
use brokkr_tests::{
    control_plane::{Launch, Options},
    lab::{LabError, Orders, kubernetes_programs, serve},
};

pub(super) async fn run(options: &Options, orders: &mut Orders) -> Result<(), LabError> {
    let start = Box::pin(async {
        let programs = kubernetes_programs().await?;
        tell("starting etcd, kube-apiserver, controllers and KWOK …");
        Launch::start(&programs, options).await
    });
    let Some(launch) = orders.unless_stopped(start).await else { return Ok(()) };
    let launch = launch?;
    let description = launch.describe();
    tell(&format!(
        "ready. In another terminal:\n\n  export KUBECONFIG={}\n  {} get nodes\n\nlogs are in {}; Ctrl-C ends it.\n",
        description.kubeconfig.display(),
        description.kubectl.display(),
        description.directory.display(),
    ));
    serve(launch, orders).await
}
