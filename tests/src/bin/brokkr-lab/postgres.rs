use crate::tell;
use brokkr_tests::{
    lab::{LabError, Orders, serve},
    postgres::Launch,
};

pub(super) async fn run(orders: &mut Orders) -> Result<(), LabError> {
    tell("starting PostgreSQL …");
    let Some(launch) = orders.unless_stopped(Launch::start()).await else { return Ok(()) };
    let launch = launch?;
    let description = launch.describe();
    tell(&format!(
        "ready. In another terminal:\n\n  {} {}\n\nCtrl-C ends it and removes the data.\n",
        description.programs.join("psql").display(),
        description.url("postgres"),
    ));
    serve(launch, orders).await
}
