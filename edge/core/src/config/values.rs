//! What the configuration makes of the values in the key store, in words.

use super::{Config, Keystore};

impl Config {
    /// How what is stored is protected, for the operator.
    pub fn values(&self) -> String {
        let transit = match &self.keystore {
            Keystore::Vault(settings) => settings.transit.as_ref(),
            _ => None,
        };
        let transit = transit.map(|transit| format!("encrypted by transit key {}", transit.key));
        match (&self.seal, transit) {
            (None, None) => "not sealed: whoever reads the key store has the keys".to_owned(),
            (None, Some(encrypted)) => format!("{encrypted}, not sealed"),
            (Some(seal), transit) => {
                let mut values = "sealed".to_owned();
                if let Some(encrypted) = transit {
                    values += &format!(", then {encrypted}");
                }
                if seal.accept_unsealed {
                    values += "; those that are not sealed are read too";
                }
                values
            }
        }
    }
}
