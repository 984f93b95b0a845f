//! What devices report. Nothing of it is looked into here.

use crate::settle::overwrite;
use crate::{Name, REPORT_BYTES_MAX, Registry, RegistryError, StoreError, StorePath};

impl Registry {
    /// Puts what a device reports in place of what it reported before. The bytes are the device's
    /// own signed envelope; they are not looked into.
    pub async fn put_report(
        &self,
        detector: &Name,
        device: &str,
        report: &[u8],
    ) -> Result<(), RegistryError> {
        let path = report_path(detector, device)?;
        check_report(&path, report)?;
        let bytes_max = REPORT_BYTES_MAX as u64;
        self.settle(&path, bytes_max, |stored| Ok(overwrite(stored, report))).await
    }

    /// The devices that ever reported on a detector, by name.
    pub async fn devices(&self, detector: &Name) -> Result<Vec<String>, RegistryError> {
        let paths = self.store.list(&format!("fleet/{detector}")).await?;
        let name =
            |path: &StorePath| Some(path.segments().nth(2)?.strip_suffix(".json")?.to_owned());
        Ok(paths.iter().filter_map(name).collect())
    }

    /// What one device reports; on nobody's word.
    pub async fn report(
        &self,
        detector: &Name,
        device: &str,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let path = report_path(detector, device)?;
        let object = self.store.get_within(&path, REPORT_BYTES_MAX as u64).await?;
        Ok(object.map(|object| object.bytes))
    }
}

fn check_report(path: &StorePath, report: &[u8]) -> Result<(), RegistryError> {
    if report.len() > REPORT_BYTES_MAX {
        let (path, bytes) = (path.to_string(), report.len());
        return Err(RegistryError::ReportTooLarge { path, bytes });
    }
    Ok(())
}

/// Where the report of a device on a detector lies.
pub fn report_path(detector: &Name, device: &str) -> Result<StorePath, StoreError> {
    let path = StorePath::new(&format!("fleet/{detector}/{device}.json"))?;
    if device.is_empty() || path.segments().count() != 3 {
        let reason = "a device's name is one segment";
        return Err(StoreError::InvalidPath { path: path.to_string(), reason });
    }
    Ok(path)
}
