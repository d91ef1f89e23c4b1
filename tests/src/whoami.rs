//! A responder that tells its clients under which address it sees them. This is how a lab observes
//! source addresses where they arrive.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process;
use std::thread;
use std::time::Duration;

use crate::error::LabError;

/// The port of the responder: none that podnet or a usual service has.
pub(crate) const PORT: u16 = 7847;

/// What the responder prints as soon as it can be asked.
pub(crate) const READY: &str = "ready";

/// How long one question may take; three are asked, as datagrams get lost.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
const QUESTIONS: u32 = 3;

/// Longer than any textual socket address.
const MAX_ANSWER_LEN: usize = 64;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Whoami {
    /// Answer until the standard input ends: whoever started the responder then is gone.
    Serve,
    /// Ask, and print the address that the responder saw.
    Ask {
        /// Where the responder is.
        address: Ipv4Addr,
    },
}

impl Whoami {
    /// Does it, and returns what there is to print.
    pub(crate) fn run(&self, print: impl Fn(&str)) -> Result<(), LabError> {
        match self {
            Self::Serve => serve(print),
            Self::Ask { address } => {
                let seen = ask(*address)?;
                print(&format!("{}\n", seen.ip()));
                Ok(())
            }
        }
    }
}

fn serve(print: impl Fn(&str)) -> Result<(), LabError> {
    let failed = |e: io::Error| LabError::system(format!("responder on UDP port {PORT}"), e);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).map_err(failed)?;
    thread::spawn(|| {
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        process::exit(0);
    });
    print(&format!("{READY}\n"));
    let mut question = [0; MAX_ANSWER_LEN];
    loop {
        let (_, client) = socket.recv_from(&mut question).map_err(failed)?;
        // A client that cannot be reached learns it by its own deadline.
        let _ = socket.send_to(client.to_string().as_bytes(), client);
    }
}

fn ask(address: Ipv4Addr) -> Result<SocketAddr, LabError> {
    let what = format!("asking {address}");
    let exchange = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // Connected: answers from elsewhere do not count, and refusals are seen.
        socket.connect((address, PORT))?;
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        let mut answer = [0; MAX_ANSWER_LEN];
        for _ in 0..QUESTIONS {
            socket.send(b"?")?;
            match socket.recv(&mut answer) {
                Ok(length) => return Ok(String::from_utf8_lossy(&answer[..length]).into_owned()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
    };
    let answer = exchange().map_err(|e| LabError::system(&what, e))?;
    answer.parse().map_err(|_| LabError::Command {
        what,
        reason: format!("no address but '{}'", answer.escape_default()),
    })
}
