//! `host health`: whether a host that runs is ready, for whoever watches a container.

use anyhow::{Context, Result, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Longest that a host may take to answer.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Ask a host on this machine whether it is ready: exit code 0, or 1 and why not.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where it listens; an address that stands for all is asked at loopback.
    #[arg(long, env = "TWINGE_LISTEN", default_value = "127.0.0.1:8080")]
    address: SocketAddr,
}

/// `host health`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let url = format!("http://{}/readyz", reachable(arguments.address));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the runtime cannot start")?.block_on(async {
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        let answer = client.get(&url).send().await;
        let answer = answer.with_context(|| format!("no host answers at {url}: start it with --listen, or give its address with --address"))?;
        let status = answer.status();
        let told = answer.text().await.unwrap_or_default();
        ensure!(status.is_success(), "{url} answers {status}: {}", told.trim());
        Ok(())
    })
}

fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_all_is_asked_at_loopback() {
        let asked = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(asked("[::]:1"), "[::1]:1");
        assert_eq!(asked("10.1.2.3:4"), "10.1.2.3:4");
    }
}
