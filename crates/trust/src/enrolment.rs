//! What ties a device's own key to its name: the word of whoever enrols devices. So a root names
//! one key for ten thousand devices, and none of them can speak for another.

use serde::{Deserialize, Serialize};

use crate::{Envelope, Keyring, PublicKey, Role, SigningKey, TrustError, written};

/// The word of an enroller on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The name of the device.
    pub device: String,
    /// The key that it made for itself.
    pub public_key: PublicKey,
}

/// Something that a device signed, with the word on its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceEnvelope {
    /// Signed with the role device; a device that nobody has enrolled yet has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Envelope>,
    /// The key of a device that is not enrolled, so that it can be.
    pub public_key: PublicKey,
    /// What the device signed.
    pub signed: Envelope,
}

/// Whether a device is who it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A trusted enroller says so.
    Enrolled,
    /// Nobody says so: good to be shown, not to decide by.
    Unknown,
}

impl Enrolment {
    /// The payload type of an enrolment's envelope.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.twinge.enrolment.v1+json";

    /// The word in an envelope, signed with a key that holds the role device.
    pub fn sign(&self, key: &SigningKey) -> Envelope {
        Envelope::sign(Self::PAYLOAD_TYPE, written(serde_json::to_vec(self)), key)
    }

    /// The word in an envelope, on nobody's word.
    pub fn read(envelope: &Envelope) -> Result<Self, TrustError> {
        serde_json::from_slice(envelope.payload_unverified())
            .map_err(|source| TrustError::MalformedEnrolment { source })
    }

    fn verify(envelope: &Envelope, keyring: &Keyring) -> Result<Self, TrustError> {
        let payload = envelope.verify(Self::PAYLOAD_TYPE, keyring, Role::Device)?;
        serde_json::from_slice(&payload).map_err(|source| TrustError::MalformedEnrolment { source })
    }
}

impl DeviceEnvelope {
    /// Signs with a device's key.
    pub fn sign(
        payload_type: &str,
        payload: Vec<u8>,
        key: &SigningKey,
        enrolment: Option<Envelope>,
    ) -> Self {
        let signed = Envelope::sign(payload_type, payload, key);
        Self { enrolment, public_key: key.public(), signed }
    }

    /// Reads the JSON form.
    pub fn from_json(json: &[u8]) -> Result<Self, TrustError> {
        serde_json::from_slice(json).map_err(|source| TrustError::MalformedEnvelope { source })
    }

    /// The JSON form.
    pub fn to_json(&self) -> Vec<u8> {
        written(serde_json::to_vec(self))
    }

    /// What `device` signed, and how far it is that device. A signature that does not fit, an
    /// enrolment that is not genuine or another device's, and a revoked key are refused.
    pub fn verify(
        &self,
        payload_type: &str,
        device: &str,
        keyring: &Keyring,
    ) -> Result<(Vec<u8>, Standing), TrustError> {
        let key_id = self.public_key.key_id();
        if keyring.key(&key_id).is_some_and(|key| key.revoked) {
            return Err(TrustError::RevokedKey { key_id: key_id.to_string() });
        }
        let standing = match &self.enrolment {
            None => Standing::Unknown,
            Some(enrolment) => {
                let enrolment = Enrolment::verify(enrolment, keyring)?;
                if (enrolment.device.as_str(), enrolment.public_key) != (device, self.public_key) {
                    let (enrolled, device) = (enrolment.device, device.to_owned());
                    return Err(TrustError::OtherDevice { enrolled, device });
                }
                Standing::Enrolled
            }
        };
        let own = Keyring::default().with(crate::TrustedKey::new(
            self.public_key,
            &[Role::Device],
            device,
        ))?;
        Ok((self.signed.verify(payload_type, &own, Role::Device)?, standing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TrustedKey;

    const KIND: &str = "text/plain";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    fn keyring() -> Keyring {
        let entry = |seed, role| TrustedKey::new(key(seed).public(), &[role], "");
        Keyring::new(vec![entry(1, Role::Device), entry(2, Role::Promoter)]).unwrap()
    }

    fn enrolled(device: &str, own: u8, by: u8) -> DeviceEnvelope {
        let enrolment = Enrolment { device: device.into(), public_key: key(own).public() };
        let enrolment = enrolment.sign(&key(by));
        DeviceEnvelope::sign(KIND, b"well".to_vec(), &key(own), Some(enrolment))
    }

    #[test]
    fn a_device_speaks_for_itself_only() {
        let check = |envelope: &DeviceEnvelope, device| {
            let json = envelope.to_json();
            DeviceEnvelope::from_json(&json).unwrap().verify(KIND, device, &keyring())
        };
        let good = enrolled("pump-7", 5, 1);
        assert_eq!(check(&good, "pump-7").unwrap(), (b"well".to_vec(), Standing::Enrolled));
        assert!(matches!(check(&good, "pump-8"), Err(TrustError::OtherDevice { .. })));
        assert!(matches!(
            check(&enrolled("pump-7", 5, 2), "pump-7"),
            Err(TrustError::RoleNotHeld { .. })
        ));
        let stolen = DeviceEnvelope { public_key: key(6).public(), ..good.clone() };
        assert!(matches!(check(&stolen, "pump-7"), Err(TrustError::OtherDevice { .. })));
        let other = DeviceEnvelope::sign(KIND, b"ill".to_vec(), &key(6), good.enrolment.clone());
        assert!(check(&other, "pump-7").is_err());
        let forged = DeviceEnvelope { signed: other.signed, ..good };
        assert!(check(&forged, "pump-7").is_err());
    }

    #[test]
    fn an_unknown_device_is_told_apart_and_a_revoked_one_refused() {
        let stranger = DeviceEnvelope::sign(KIND, b"well".to_vec(), &key(5), None);
        let (_, standing) = stranger.verify(KIND, "pump-7", &keyring()).unwrap();
        assert_eq!(standing, Standing::Unknown);
        let entry = TrustedKey { revoked: true, ..TrustedKey::new(key(5).public(), &[], "stolen") };
        let keyring = keyring().with(entry).unwrap();
        let refused = enrolled("pump-7", 5, 1).verify(KIND, "pump-7", &keyring);
        assert!(matches!(refused, Err(TrustError::RevokedKey { .. })));
    }
}
