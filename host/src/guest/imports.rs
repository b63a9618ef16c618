//! What the host lends to one instance.

use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use sealedge_core::auth::nonces::{Lifetime, Replay};

use sealedge_core::crypto::{Crypto, NotSealed, TAG_LENGTH};
use sealedge_core::time::Time;
use sealedge_core::words::{bytes, words};
use wasmtime::component::{HasSelf, Linker, WasmList};
use wasmtime::{Result, StoreContextMut, StoreLimits, StoreLimitsBuilder, format_err};

use super::bindings::sealedge::edge::lent::{self, Host, Remembered};
use super::budget::Budget;
use super::crypto::RingCrypto;
use super::machine::Machine;
use super::types::{self, Operation};

/// How much memory an instance may take, in bytes: it has room for hundreds of thousands of keys,
/// and for a configuration with a million rules, for which half of this is too little.
const MEMORY_LIMIT: usize = 512 << 20;

/// The host, seen from one instance.
pub struct Imports {
    machine: Arc<Machine>,
    random: SystemRandom,
    /// How much memory the instance may take.
    pub limits: StoreLimits,
    /// How much time the call may take.
    pub budget: Budget,
    /// Operations that were begun and not yet taken up.
    pub begun: Vec<(u64, Operation)>,
    /// Operations that nobody waits for any more.
    pub cancelled: Vec<u64>,
}

impl Imports {
    pub fn new(machine: Arc<Machine>) -> Self {
        let random = SystemRandom::new();
        Self {
            machine,
            random,
            limits: StoreLimitsBuilder::new().memory_size(MEMORY_LIMIT).build(),
            budget: Budget::default(),
            begun: Vec::new(),
            cancelled: Vec::new(),
        }
    }
}

pub fn add_to(linker: &mut Linker<Imports>) -> Result<()> {
    lent::add_to_linker::<_, HasSelf<_>>(linker, |imports| imports)?;
    // By hand, since these read the guest's memory in place: nothing secret is copied to the host.
    let mut crypto = linker.instance("sealedge:edge/crypto@0.1.0")?;
    crypto.func_wrap("hmac-sha256", hmac)?;
    crypto.func_wrap("aes256-gcm-seal", seal)?;
    crypto.func_wrap("aes256-gcm-open", open)?;
    crypto.func_wrap("derive-and-seal", derive_and_seal)?;
    crypto.func_wrap("derive-and-open", derive_and_open)?;
    crypto.func_wrap("derive-and-seal-dek", derive_and_seal_dek)?;
    crypto.func_wrap("ed25519-verifies", ed25519_verifies)?;
    crypto.func_wrap("p256-verifies", p256_verifies)?;
    Ok(())
}

type Bytes = WasmList<u8>;
type Context<'a> = StoreContextMut<'a, Imports>;
type Two = (u64, u64);
type SealedDek = (u64, u64, u64, u64, u64, u64);

fn hmac(memory: Context<'_>, (key, message): (Bytes, Bytes)) -> Result<((u64, u64, u64, u64),)> {
    let sum = RingCrypto.hmac_sha256(fixed(&key, &memory)?, message.as_le_slice(&memory));
    Ok((words::<4>(&sum).into(),))
}

fn seal(
    memory: Context<'_>,
    (key, nonce, aad, plaintext): (Bytes, Bytes, Bytes, Bytes),
) -> Result<(Vec<u8>,)> {
    let (key, nonce) = (fixed(&key, &memory)?, fixed(&nonce, &memory)?);
    let aad = aad.as_le_slice(&memory);
    sealed(plaintext.as_le_slice(&memory), |buffer| {
        RingCrypto.aes256_gcm_seal(key, nonce, aad, buffer)
    })
}

fn derive_and_seal(
    memory: Context<'_>,
    (key, iv, nonce, aad, plaintext): (Bytes, Bytes, Bytes, Bytes, Bytes),
) -> Result<(Vec<u8>,)> {
    let (key, iv) = (fixed(&key, &memory)?, fixed(&iv, &memory)?);
    let (nonce, aad) = (fixed(&nonce, &memory)?, aad.as_le_slice(&memory));
    sealed(plaintext.as_le_slice(&memory), |buffer| {
        RingCrypto.derive_and_seal(key, iv, nonce, aad, buffer)
    })
}

fn sealed(
    plaintext: &[u8],
    seal: impl FnOnce(&mut Vec<u8>) -> Result<(), NotSealed>,
) -> Result<(Vec<u8>,)> {
    let mut buffer = Vec::with_capacity(plaintext.len() + TAG_LENGTH);
    buffer.extend_from_slice(plaintext);
    seal(&mut buffer).map_err(|error| format_err!("{error}"))?;
    Ok((buffer,))
}

fn open(
    memory: Context<'_>,
    (key, nonce, aad, ciphertext): (Bytes, Bytes, Bytes, Bytes),
) -> Result<(Option<Vec<u8>>,)> {
    let (key, nonce) = (fixed(&key, &memory)?, fixed(&nonce, &memory)?);
    let mut buffer = ciphertext.as_le_slice(&memory).to_vec();
    let aad = aad.as_le_slice(&memory);
    let opened = RingCrypto.aes256_gcm_open(key, nonce, aad, &mut buffer);
    Ok((opened.is_ok().then_some(buffer),))
}

fn derive_and_open(
    memory: Context<'_>,
    (key, iv, nonce, aad, ciphertext): (Bytes, Bytes, Bytes, Bytes, Bytes),
) -> Result<(Option<Vec<u8>>,)> {
    let (key, iv) = (fixed(&key, &memory)?, fixed(&iv, &memory)?);
    let (nonce, aad) = (fixed(&nonce, &memory)?, aad.as_le_slice(&memory));
    let mut buffer = ciphertext.as_le_slice(&memory).to_vec();
    let opened = RingCrypto.derive_and_open(key, iv, nonce, aad, &mut buffer);
    Ok((opened.is_ok().then_some(buffer),))
}

fn derive_and_seal_dek(
    memory: Context<'_>,
    (key, iv, nonce, aad, dek): (Bytes, Two, Two, Bytes, Bytes),
) -> Result<(SealedDek,)> {
    let (key, dek) = (fixed(&key, &memory)?, fixed::<32>(&dek, &memory)?);
    let (iv, nonce) = (
        bytes(&<[u64; 2]>::from(iv)),
        bytes(&<[u64; 2]>::from(nonce)),
    );
    let aad = aad.as_le_slice(&memory);
    let (sealed,) = sealed(dek, |buffer| {
        RingCrypto.derive_and_seal(key, &iv, &nonce, aad, buffer)
    })?;
    Ok((words::<6>(&sealed).into(),))
}

fn ed25519_verifies(
    memory: Context<'_>,
    (key, message, signature): (Bytes, Bytes, Bytes),
) -> Result<(bool,)> {
    let (key, signature) = (fixed(&key, &memory)?, fixed(&signature, &memory)?);
    let message = message.as_le_slice(&memory);
    Ok((RingCrypto.ed25519_verifies(key, message, signature),))
}

fn p256_verifies(
    memory: Context<'_>,
    (key, message, signature): (Bytes, Bytes, Bytes),
) -> Result<(bool,)> {
    let (key, signature) = (fixed(&key, &memory)?, fixed(&signature, &memory)?);
    let message = message.as_le_slice(&memory);
    Ok((RingCrypto.p256_verifies(key, message, signature),))
}

/// The list as an array of the length that the contract names.
fn fixed<'a, const N: usize>(list: &Bytes, memory: &'a Context<'_>) -> Result<&'a [u8; N]> {
    let bytes = list.as_le_slice(memory);
    bytes
        .try_into()
        .map_err(|_| format_err!("expected {N} bytes and not {}", bytes.len()))
}

impl types::Host for Imports {}

impl Host for Imports {
    fn now(&mut self) -> u64 {
        self.machine.now()
    }

    fn random(&mut self, length: u32) -> Vec<u8> {
        let mut bytes = vec![0; length as usize];
        if self.random.fill(&mut bytes).is_err() {
            // The guest takes fewer bytes than it asked for as its end.
            bytes.clear();
        }
        bytes
    }

    fn begin(&mut self, io: u64, what: Operation) {
        self.begun.push((io, what));
    }

    fn cancel(&mut self, io: u64) {
        self.cancelled.push(io);
    }

    fn remember(
        &mut self,
        identity: Vec<u8>,
        nonce: Vec<u8>,
        created: u64,
        until: u64,
    ) -> Remembered {
        let (Ok(identity), Ok(nonce)) = (identity.try_into(), nonce.try_into()) else {
            // No guest of ours: what can't be remembered is not to be answered.
            return Remembered::Full;
        };
        let lives = Lifetime {
            created: Time::from_nanos(created),
            until: Time::from_nanos(until),
        };
        match self.machine.remember(&identity, &nonce, lives) {
            Ok(()) => Remembered::Fresh,
            Err(Replay::Seen) => Remembered::Seen,
            Err(Replay::Full | Replay::Away) => Remembered::Full,
            Err(Replay::Late) => Remembered::Late,
        }
    }

    fn trusts(&mut self, certificates: Vec<Vec<u8>>) -> bool {
        self.machine.trusts(&certificates)
    }

    fn audit(&mut self, line: Vec<u8>) {
        self.machine.audit(line);
    }

    fn error(&mut self, message: String) {
        self.machine.error(&message);
    }

    fn variable(&mut self, name: String) -> Option<String> {
        std::env::var(name).ok()
    }

    fn system(&mut self) -> types::Machine {
        self.machine.system()
    }
}
