//! A port for a server.

use std::net::TcpListener;

use crate::ServiceError;

/// Ports of other people's well-known services end somewhere below.
const FIRST: u16 = 15_000;
/// Where outgoing connections begin unless the kernel says otherwise.
const EPHEMERAL: u16 = 32_768;

/// A free port of this machine, below those of outgoing connections. From among those, a client
/// that dials while the server is down could take the server's port, or even reach itself.
pub(crate) fn free() -> Result<u16, ServiceError> {
    let end = first_ephemeral().filter(|it| *it > FIRST + 1_000).unwrap_or(EPHEMERAL);
    let span = end - FIRST;
    for _ in 0..200 {
        let mut random = [0; 2];
        fill(&mut random)?;
        let port = FIRST + u16::from_le_bytes(random) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(ServiceError::Missing(format!("no free port found between {FIRST} and {end}")))
}

/// Starts a server on a free port, or on another when somebody took that one meanwhile.
pub(crate) fn on_a_free_one(
    mut start: impl FnMut(u16) -> Result<(), ServiceError>,
) -> Result<u16, ServiceError> {
    let mut tries = 0;
    loop {
        let port = free()?;
        tries += 1;
        match start(port) {
            Ok(()) => return Ok(port),
            Err(ServiceError::Failed { log, .. }) if tries < 5 && log.contains("in use") => {}
            Err(error) => return Err(error),
        }
    }
}

fn first_ephemeral() -> Option<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), ServiceError> {
    getrandom::fill(bytes)
        .map_err(|error| ServiceError::Unusable(format!("no random numbers: {error}")))
}

/// A password of `A-Za-z0-9` only, so that URLs and files need no quoting.
pub(crate) fn password() -> Result<String, ServiceError> {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz234567890";
    let mut random = [0; 32];
    fill(&mut random)?;
    Ok(random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_listened_on_and_is_none_of_outgoing_connections() {
        let port = free().expect("a port");
        assert!(port >= FIRST && port < first_ephemeral().unwrap_or(EPHEMERAL).max(FIRST + 1_001));
        TcpListener::bind(("127.0.0.1", port)).expect("it is free");
    }

    #[test]
    fn a_port_that_was_taken_is_given_up_for_another_and_other_failures_are_told() {
        let failed = |log: &str| {
            Err(ServiceError::Failed { doing: "start".to_owned(), log: log.to_owned() })
        };
        let mut ports = Vec::new();
        let port = on_a_free_one(|port| {
            ports.push(port);
            if ports.len() < 3 { failed("Address already in use") } else { Ok(()) }
        });
        assert_eq!((port.expect("the third"), ports.len()), (ports[2], 3));

        for (log, times) in [("Address already in use", 5), ("no memory", 1)] {
            let mut tries = 0;
            let result = on_a_free_one(|_| {
                tries += 1;
                failed(log)
            });
            assert!(result.is_err());
            assert_eq!(tries, times);
        }
    }

    #[test]
    fn passwords_differ() {
        assert_ne!(password().expect("one"), password().expect("another"));
    }
}
