//! The probe, against a real server on loopback.

use std::time::Duration;

use axum::http::StatusCode;
use baldur_core::port::Probe as _;
use baldur_http_target::{AllowedHost, HttpProbe, HttpProbeConfig, HttpTargetError};

use crate::server::{Reply, Server};

fn config(url: &str) -> HttpProbeConfig {
    let host = url.trim_start_matches("http://").split('/').next().expect("a host");
    HttpProbeConfig::new(url, vec![AllowedHost::parse(host).expect("a host")])
}

fn probe(url: &str) -> HttpProbe {
    HttpProbe::new(config(url)).expect("valid")
}

#[tokio::test]
async fn a_good_answer_is_a_success_and_any_other_is_not() {
    for (status, is_back) in [
        (StatusCode::OK, true),
        (StatusCode::NO_CONTENT, true),
        (StatusCode::FOUND, false),
        (StatusCode::NOT_FOUND, false),
        (StatusCode::SERVICE_UNAVAILABLE, false),
    ] {
        let server = Server::start(Reply::status(status).header("location", "/elsewhere")).await;
        let answer = probe(&format!("{}/health?key=secret", server.origin())).probe().await;
        assert_eq!(answer.is_ok(), is_back, "{status}");
        if let Err(failure) = answer {
            let said = failure.to_string();
            assert!(said.contains(status.as_str()) && !said.contains("secret"), "{said}");
        }
        let seen = server.requests();
        assert_eq!(seen.len(), 1, "a redirect is not followed");
        assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("GET", "/health?key=secret"));
        assert!(seen[0].body.is_empty());
    }
}

#[tokio::test]
async fn the_body_is_not_waited_for() {
    let server = Server::start(Reply::status(StatusCode::OK).endless()).await;
    assert_eq!(probe(&server.url()).probe().await, Ok(()));
}

#[tokio::test]
async fn no_answer_and_no_server_are_failures() {
    let server = Server::start(Reply::never()).await;
    let mut config = config(&server.url());
    config.timeout = Duration::from_millis(50);
    let failure = HttpProbe::new(config).expect("valid").probe().await.expect_err("no answer");
    assert!(failure.reason.ends_with("gave no answer within 50ms"), "{failure}");
    let gone = server.url();
    drop(server);
    let hung_up = Server::hanging_up().await;
    for url in [hung_up.url(), gone] {
        assert!(probe(&url).probe().await.is_err());
    }
}

#[test]
fn the_rules_of_targets_hold() {
    let elsewhere = HttpProbeConfig::new(
        "http://169.254.169.254/",
        vec![AllowedHost::parse("pay.example.com").expect("a host")],
    );
    assert!(matches!(HttpProbe::new(elsewhere), Err(HttpTargetError::HostNotAllowed { .. })));
    let nowhere = HttpProbeConfig::new("http://pay.example.com/", Vec::new());
    assert!(matches!(HttpProbe::new(nowhere), Err(HttpTargetError::NoAllowedHost)));
    let allowed = vec![AllowedHost::parse("pay.example.com").expect("a host")];
    let user = HttpProbeConfig::new("http://user:hunter2@pay.example.com/", allowed);
    assert!(matches!(HttpProbe::new(user), Err(HttpTargetError::Userinfo)));
    let mut slow = config("http://pay.example.com/");
    slow.timeout = Duration::from_hours(1);
    assert!(matches!(HttpProbe::new(slow), Err(HttpTargetError::Duration { .. })));
    let shown = format!("{:?}", probe("http://pay.example.com/secret"));
    assert!(shown.contains("pay.example.com") && !shown.contains("secret"), "{shown}");
}
