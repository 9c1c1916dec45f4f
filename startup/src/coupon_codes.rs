//! Reads the keys of signed coupon codes.

use crate::BadSetting;
use crate::secret::Secret;
use clap::Args;
use rushgate_gate::CodeKeys;
use secrecy::{ExposeSecret, SecretString};
use std::path::PathBuf;

#[derive(Args, Clone, Debug)]
pub struct CouponCodeSettings {
    /// Keys of signed coupon codes, separated by commas: new campaigns use the first one
    #[arg(
        id = "coupon_code_keys",
        long = "coupon-code-keys",
        env = "COUPON_CODE_KEYS"
    )]
    #[arg(value_name = "KEYS", global = true, hide_env_values = true)]
    pub keys: Option<SecretString>,

    /// File with the keys of signed coupon codes, one a line
    #[arg(id = "coupon_code_keys_file", long = "coupon-code-keys-file")]
    #[arg(env = "COUPON_CODE_KEYS_FILE", value_name = "FILE", global = true)]
    pub file: Option<PathBuf>,
}

impl CouponCodeSettings {
    /// The keys, of which new campaigns use the first. Empty if neither variable is set.
    ///
    /// # Errors
    /// When the file cannot be read, or a key is too short. The error quotes no key.
    pub fn keys(&self) -> Result<CodeKeys, BadSetting> {
        let source = Secret {
            variable: "COUPON_CODE_KEYS",
            value: self.keys.as_ref(),
            file_variable: "COUPON_CODE_KEYS_FILE",
            file: self.file.as_deref(),
        };
        let (_, keys) = source.read_keys()?;
        Ok(CodeKeys::new(keys.iter().map(ExposeSecret::expose_secret)))
    }
}
