//! Unwrapping a secret by transit, by somebody who has nothing else to do there.

use std::time::Duration;

use zeroize::Zeroizing;

use super::client::Client;
use super::{Access, Transit, transit};
use crate::platform::World;
use crate::store::StoreError;
use crate::store::remote::Repeat;

/// How long it may take, login included: requests wait for it.
const LIMIT: Duration = Duration::from_secs(5);

/// Logs in, has a ciphertext decrypted and forgets the token.
///
/// # Errors
/// [`StoreError::Unreachable`] if the server is away, else [`StoreError::Failed`]. Nothing is logged.
pub async fn decrypt(
    world: impl World,
    access: &Access,
    key: &Transit,
    ciphertext: &str,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let client = Client::new(access, world);
    let errand = client.courier.begin(LIMIT);
    let build = |token: &str| transit::decrypt(access, key, token, ciphertext);
    let answer = client.ask(access, &errand, Repeat::Safe, build).await?;
    answer.read(transit::parse_decrypt)
}
