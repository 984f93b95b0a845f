//! Signed documents: any envelope is read or refused; what is in one that was signed rightly is
//! believed only where it may be, and never panics whoever wrote it.

use std::sync::OnceLock;
use twinge_registry::{Channel, ChannelView, Name};
use twinge_testkit::Keys;
use twinge_trust::{
    Anchor, ArtefactStatement, DeviceEnvelope, Enrolment, Envelope, Keyring, RightsRequest, Role,
    Root, SigningKey, Statement, TrustedRoot, VerifiedModule,
};

pub(super) const WORDS: &[&[u8]] = &[
    b"\"payloadType\"",
    b"\"payload\"",
    b"\"signatures\"",
    b"\"keyid\"",
    b"\"sig\"",
    b"\"application/vnd.twinge.channel.v1+json\"",
    b"\"keys\"",
    b"\"roles\"",
    b"\"threshold\"",
    b"\"version\"",
    b"\"expires_ms\"",
    b"\"serial\":18446744073709551615",
    b"\"champion\":null",
    b"\"challenger\":",
    b"\"rollout\":",
    b"\"policy\":{\"stages\":[]}",
    b"\"history\":[]",
    b"\"sensitivity\":1e-320",
    b"\"endorsement\":",
    b"null",
    b"[[[[[[[[",
    b"=",
    b"\\u0000",
];

struct Fixture {
    keys: Keys,
    keyring: Keyring,
    root: TrustedRoot,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let keys = Keys::default();
        Fixture { keyring: keys.keyring(), root: keys.root(), keys }
    })
}

/// Everything that comes as JSON and claims to be signed, or says whose signature counts.
pub(super) fn envelope(bytes: &[u8]) {
    let Fixture { keyring, root, .. } = fixture();
    if let Ok(envelope) = Envelope::from_json(bytes) {
        let written = envelope.to_json();
        let again = Envelope::from_json(&written).expect("what was written can be read");
        assert!(again == envelope, "what was written is read as it was");
        let roles = [Role::Promoter, Role::Retrainer];
        envelope.verify_any(Channel::PAYLOAD_TYPE, keyring, &roles).ok();
        view().accept(&envelope, keyring, None, 0).ok();
        root.accept(&envelope).ok();
        TrustedRoot::anchor(envelope.clone()).ok();
        Enrolment::read(&envelope).ok();
        VerifiedModule::verify(&b"module"[..], &envelope, keyring).ok();
    }
    if let Ok(envelope) = DeviceEnvelope::from_json(bytes) {
        let written = envelope.to_json();
        let again = DeviceEnvelope::from_json(&written).expect("what was written can be read");
        assert!(again.to_json() == written, "what was written is read as it was");
        RightsRequest::verify(&envelope, keyring).ok();
        envelope.verify("text/plain", "pump-7", keyring).ok();
    }
    if let Ok(keyring) = Keyring::from_json(bytes) {
        let written = keyring.to_json();
        let again = Keyring::from_json(written.as_bytes()).expect("what was written can be read");
        assert!(again.to_json() == written, "what was written is read as it was");
        assert!(
            keyring.keys().iter().all(|key| keyring.key(&key.key_id).is_some()),
            "all are found"
        );
    }
    Anchor::from_json(bytes).ok();
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(key) = SigningKey::from_text(text)
    {
        let again = SigningKey::from_text(&key.to_text()).expect("what was written can be read");
        assert_eq!(again.key_id(), key.key_id(), "it is the same key");
    }
}

/// A root that the root key signed, whatever it says.
pub(super) fn root(bytes: &[u8]) {
    let Fixture { keys, root, .. } = fixture();
    let signed = Envelope::sign(Root::PAYLOAD_TYPE, bytes.to_vec(), &keys.root);
    for trusted in [TrustedRoot::anchor(signed.clone()), root.accept(&signed)] {
        let Ok(trusted) = trusted else { continue };
        trusted.is_expired(i64::MIN);
        let Ok(next) = trusted.root().next(0) else { continue };
        let stranger = SigningKey::from_seed([9; 32]);
        trusted.accept(&next.sign(&[&stranger])).expect_err("strangers sign no roots");
        assert!(next.version > trusted.root().version, "versions go on");
        trusted.accept(&next.sign(&[&keys.root])).ok();
        trusted.accept(&signed).expect_err("no root follows itself");
    }
}

fn view() -> ChannelView {
    let name = |text: &str| text.parse::<Name>().expect("a name");
    ChannelView::new(name("test"), name("stable"))
}

/// A channel that a promoter or a retrainer signed, whatever it says, on top of a good one.
pub(super) fn channel(bytes: &[u8]) {
    let Fixture { keys, keyring, .. } = fixture();
    for key in [&keys.promoter, &keys.retrainer] {
        let signed = Envelope::sign(Channel::PAYLOAD_TYPE, bytes.to_vec(), key);
        let Ok(accepted) = view().accept(&signed, keyring, None, 1) else { continue };
        let after = view().after(&accepted);
        after
            .accept(&signed, keyring, Some(accepted.last_seen), 1)
            .expect("the same document is accepted again");
        let (now, old) = (accepted.last_seen, i64::MIN);
        after.accept(&signed, keyring, Some(now), old).ok();
        after.accept(&signed, keyring, Some(now), i64::MAX).ok();
    }
    let Ok(channel) = Channel::from_json(bytes) else { return };
    let written = channel.sign(&keys.promoter);
    let again = Channel::from_json(written.payload_unverified()).expect("it is read again");
    assert!(again == channel, "what was written is read as it was");
    transitions(&channel);
}

fn transitions(channel: &Channel) {
    channel.acting();
    channel.without_challenger().ok();
    channel.rollback(None).ok();
    channel.with_hold(Some("held".to_owned())).ok();
    channel.with_sensitivity(Some(f64::NAN)).expect_err("not a number is no sensitivity");
    channel.with_policy(channel.policy.clone()).ok();
    if let Some(challenger) = &channel.challenger
        && let Ok(promoted) = channel.promote(&challenger.digest)
    {
        assert!(
            promoted.champion.as_ref().is_some_and(|target| target.digest == challenger.digest)
        );
        assert!(promoted.serial > channel.serial, "serials grow");
    }
    if let Ok(renewed) = channel.renewed() {
        assert!(channel.same_verdicts(&renewed), "what acts stays");
    }
}

/// What trainers and devices sign: statements on modules and machine code, enrolments, requests.
pub(super) fn statement(bytes: &[u8]) {
    let Fixture { keys, keyring, .. } = fixture();
    Statement::from_json(bytes).ok();
    ArtefactStatement::from_json(bytes).ok();
    let signed = Envelope::sign(Statement::PAYLOAD_TYPE, bytes.to_vec(), &keys.promoter);
    VerifiedModule::verify(&b"module"[..], &signed, keyring).ok();
    let enrolment = Envelope::sign(Enrolment::PAYLOAD_TYPE, bytes.to_vec(), &keys.enroller);
    Enrolment::read(&enrolment).ok();
    let device = SigningKey::from_seed([7; 32]);
    let request =
        DeviceEnvelope::sign(RightsRequest::PAYLOAD_TYPE, bytes.to_vec(), &device, Some(enrolment));
    RightsRequest::verify(&request, keyring).ok();
}
