//! The way to Douyin, out of the keys of `[douyin]` that say it and the files that they name.
//!
//! What it must not know: how the way is taken.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::certificates::Certificates;
use super::reading::Reading;
use crate::douyin::way::{Authorities, Credentials, Proxy, ProxyAddress};

/// What the file says of the way to Douyin; [`super::Config::douyin`] has what is made of it.
#[derive(Clone, Default, Debug)]
pub struct WayConfig {
    pub proxy_url: Option<String>,
    pub proxy_credentials_file: Option<String>,
    pub ca_file: Option<String>,
}

const URL: &str = "douyin.proxy_url";
const CREDENTIALS: &str = "douyin.proxy_credentials_file";
const CA: &str = "douyin.ca_file";
const BASE_URL: &str = "douyin.base_url";
/// The largest file of credentials.
pub(super) const CREDENTIALS_BYTES_MAX: u64 = 4_096;
/// The largest file of certificates. All that a usual operating system trusts have 220 KiB.
pub(super) const CA_BYTES_MAX: u64 = 1024 * 1024;

/// Completes the way; returns the warnings.
pub(super) fn complete(reading: &mut Reading) -> Vec<String> {
    let mut warnings = Vec::new();
    let WayConfig { proxy_url, proxy_credentials_file, ca_file } = reading.config.way.clone();
    let mut credentials = None;
    if let Some(path) = &proxy_credentials_file {
        match credentials_of(path) {
            Ok((read, warning)) => {
                credentials = Some(read);
                let at = reading.set.get(CREDENTIALS).expect("a value without a default was set");
                warnings.extend(warning.map(|warning| format!("{at}: {CREDENTIALS} {warning}")));
            }
            Err(why) => problem(reading, CREDENTIALS, &format!("names a file that {why}")),
        }
        if proxy_url.is_none() && !reading.bad.contains(URL) {
            problem(reading, CREDENTIALS, &format!("is set and {URL} is not"));
        }
    }
    // A value that is no address was refused.
    let address = proxy_url.and_then(|url| ProxyAddress::parse(&url).ok());
    let proxy = address.map(|address| Proxy { address, credentials });
    if let Some(path) = &ca_file {
        match authorities_of(path) {
            Ok((read, all)) => {
                reading.config.douyin.way.authorities = Some(read);
                reading.certificates.push(Certificates::authorities(CA, all));
            }
            Err(why) => problem(reading, CA, &format!("names a file that {why}")),
        }
        let is_plain = reading.config.douyin.base_url.starts_with("http:");
        if is_plain && !reading.bad.contains(BASE_URL) {
            problem(reading, CA, &format!("is set and {BASE_URL} is not https"));
        }
    }
    reading.config.douyin.way.proxy = proxy;
    warnings
}

fn problem(reading: &mut Reading, path: &str, why: &str) {
    let at = reading.set.get(path).cloned().expect("a value without a default was set");
    reading.problem(&at, format!("{path} {why}"));
}

fn credentials_of(path: &str) -> Result<(Credentials, Option<&'static str>), String> {
    let (text, warning) = super::read_secret(Path::new(path), CREDENTIALS_BYTES_MAX)?;
    let credentials = Credentials::parse(&text).map_err(|bad| bad.to_string())?;
    Ok((credentials, warning))
}

pub(super) fn authorities_of(
    path: &str,
) -> Result<(Authorities, Vec<CertificateDer<'static>>), String> {
    let text = super::read_bounded(Path::new(path), CA_BYTES_MAX)?;
    let authorities = Authorities::parse(&text).map_err(|bad| bad.to_string())?;
    let all = CertificateDer::pem_slice_iter(text.as_bytes()).flatten().collect();
    Ok((authorities, all))
}
