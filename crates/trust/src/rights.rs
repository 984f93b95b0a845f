//! How a device asks for rights on a registry: a statement of its own, signed with its key.
//!
//! Knows nothing of what rights are, of how a nonce is made, or of how long it holds. The time in
//! a request is told and decides nothing: a device may have no battery for its clock.

use serde::{Deserialize, Serialize};

use crate::spelling::cut;
use crate::{DeviceEnvelope, Envelope, Keyring, SigningKey, Standing, TrustError, written};

/// The word of a device that it wants rights, here and now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightsRequest {
    /// The name of the device.
    pub device: String,
    /// The registry that rights are asked for, by its address: another registry's host cannot pass
    /// the request on.
    pub audience: String,
    /// What the host gave the device to sign, once.
    pub nonce: String,
    /// The detectors that the device reports on.
    pub detectors: Vec<String>,
    /// The time by the device's own clock, in milliseconds since 1970, for people.
    pub time_ms: i64,
}

impl RightsRequest {
    /// The payload type of a request's envelope.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.twinge.rights-request.v1+json";

    /// The payload of an envelope.
    pub fn to_json(&self) -> Vec<u8> {
        written(serde_json::to_vec(self))
    }

    /// The request in an envelope, signed with the device's key.
    pub fn sign(&self, key: &SigningKey, enrolment: Option<Envelope>) -> DeviceEnvelope {
        DeviceEnvelope::sign(Self::PAYLOAD_TYPE, self.to_json(), key, enrolment)
    }

    /// The request in an envelope, on nobody's word: to refuse it early, never to act on it.
    pub fn read_unverified(envelope: &DeviceEnvelope) -> Result<Self, TrustError> {
        serde_json::from_slice(envelope.signed.payload_unverified())
            .map_err(|source| TrustError::MalformedRightsRequest { source })
    }

    /// The request, if the device that it names signed it and an enroller whom `keyring` trusts
    /// enrolled that device. Unlike a report, one of an unknown device counts for nothing.
    pub fn verify(envelope: &DeviceEnvelope, keyring: &Keyring) -> Result<Self, TrustError> {
        let request = Self::read_unverified(envelope)?;
        match envelope.verify(Self::PAYLOAD_TYPE, &request.device, keyring)? {
            (_, Standing::Enrolled) => Ok(request),
            (_, Standing::Unknown) => Err(TrustError::NotEnrolled { device: cut(&request.device) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Enrolment, Role, TrustedKey};

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    fn keyring() -> Keyring {
        let entry = |seed, role| TrustedKey::new(key(seed).public(), &[role], "");
        Keyring::new(vec![entry(1, Role::Device), entry(2, Role::Promoter)]).unwrap()
    }

    fn request() -> RightsRequest {
        RightsRequest {
            device: "pump-7".into(),
            audience: "https://acme1.blob.core.windows.net/lake".into(),
            nonce: "abc".into(),
            detectors: vec!["pump".into()],
            time_ms: -5,
        }
    }

    fn enrolment(device: &str, own: u8, by: u8) -> Envelope {
        let enrolment = Enrolment { device: device.into(), public_key: key(own).public() };
        enrolment.sign(&key(by))
    }

    #[test]
    fn an_enrolled_device_is_heard_and_nobody_else() {
        let verify = |envelope: &DeviceEnvelope, keyring: &Keyring| {
            let envelope = DeviceEnvelope::from_json(&envelope.to_json()).unwrap();
            RightsRequest::verify(&envelope, keyring)
        };
        let good = request().sign(&key(5), Some(enrolment("pump-7", 5, 1)));
        assert_eq!(verify(&good, &keyring()).unwrap(), request());
        let unknown = verify(&request().sign(&key(5), None), &keyring());
        assert!(matches!(unknown, Err(TrustError::NotEnrolled { .. })), "{unknown:?}");
        let other = verify(&request().sign(&key(5), Some(enrolment("pump-8", 5, 1))), &keyring());
        assert!(matches!(other, Err(TrustError::OtherDevice { .. })), "{other:?}");
        let by_promoter =
            verify(&request().sign(&key(5), Some(enrolment("pump-7", 5, 2))), &keyring());
        assert!(matches!(by_promoter, Err(TrustError::RoleNotHeld { .. })), "{by_promoter:?}");
        let stolen = verify(&request().sign(&key(6), Some(enrolment("pump-7", 5, 1))), &keyring());
        assert!(matches!(stolen, Err(TrustError::OtherDevice { .. })), "{stolen:?}");
        let mut revoked = keyring();
        revoked.revoke(&key(1).key_id());
        assert!(matches!(verify(&good, &revoked), Err(TrustError::RevokedKey { .. })));
    }

    #[test]
    fn what_a_device_signed_for_another_purpose_is_no_request() {
        let payload = request().to_json();
        let report =
            DeviceEnvelope::sign("text/plain", payload, &key(5), Some(enrolment("pump-7", 5, 1)));
        let refused = RightsRequest::verify(&report, &keyring());
        assert!(matches!(refused, Err(TrustError::WrongPayloadType { .. })), "{refused:?}");
        let kind = RightsRequest::PAYLOAD_TYPE;
        let empty =
            DeviceEnvelope::sign(kind, b"{}".to_vec(), &key(5), Some(enrolment("pump-7", 5, 1)));
        let refused = RightsRequest::verify(&empty, &keyring());
        assert!(matches!(refused, Err(TrustError::MalformedRightsRequest { .. })), "{refused:?}");
    }
}
