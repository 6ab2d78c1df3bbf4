use super::on_path;
use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command},
    sync::{OnceLock, mpsc},
    thread,
};

/// The signal that a child gets when this process dies, however it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The child has nothing to clean up.
    Kill,
    /// PostgreSQL's immediate shutdown, which gives its shared memory back.
    Quit,
}

/// A command in a process group of its own (Ctrl-C reaches us, and we end it in order) that dies with this process.
///
/// The binding is made by util-linux's `setpriv`; without it the command runs unbound.
pub fn bound(program: &Path, death: Death) -> Command {
    let mut command = match setpriv() {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            let signal = match death {
                Death::Kill => "KILL",
                Death::Quit => "QUIT",
            };
            command.args(["--pdeathsig", signal, "--"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.process_group(0);
    command
}

fn setpriv() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    FOUND.get_or_init(|| on_path("setpriv")).as_deref()
}

type Request = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Starts a command made by [`bound`].
///
/// "Parent death" means the death of the *thread* that started the child, and threads of tests come and go. So one
/// thread, which lives as long as the process, starts them all.
///
/// # Errors
/// What the operating system answered.
pub fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let gone = || io::Error::other("the thread that starts programs is gone");
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in requests {
                // A receiver that is gone has no use for the child, which then ends as a dropped handle's child would.
                drop(answer.send(command.spawn()));
            }
        });
        sender
    });
    let (answer, child) = mpsc::sync_channel(1);
    spawner.send((command, answer)).map_err(|_send| gone())?;
    child.recv().map_err(|_recv| gone())?
}
