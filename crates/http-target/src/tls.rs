//! The TLS provider of the process.

use rustls::crypto::{CryptoProvider, ring};

/// Makes ring the TLS provider of the process, unless the host has chosen one already.
///
/// Call it before building any rustls client: without a provider that panics. Any number of calls is fine.
pub fn ensure_provider() {
    if CryptoProvider::get_default().is_none() {
        // An error means that another thread was faster, which is as good.
        let _ = ring::default_provider().install_default();
    }
}
