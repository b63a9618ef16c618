//! Requests with a token, which is got on the way.

use std::rc::Rc;

use zeroize::Zeroizing;

use super::{Access, Credentials, Jwt, login, wire};
use crate::outgoing::Request;
use crate::platform::World;
use crate::store::StoreError;
use crate::store::remote::{Answer, Courier, Errand, Grant, Repeat, Token, Tokens};

/// The way to one Vault, and the token that is held there.
pub struct Client<W> {
    /// Sends the requests.
    pub courier: Courier<W>,
    tokens: Tokens,
}

impl<W: World> Client<W> {
    /// A way to the server that is not gone yet.
    pub fn new(access: &Access, world: W) -> Self {
        let origin = access.server.origin.clone();
        Self {
            courier: Courier::new(world, origin, wire::explain, wire::secrets),
            tokens: Tokens::default(),
        }
    }

    /// Sends a request with a token. If the server does not take that, a new one is tried, once.
    pub async fn ask(
        &self,
        access: &Access,
        errand: &Errand,
        repeat: Repeat,
        build: impl Fn(&str) -> Request,
    ) -> Result<Answer, StoreError> {
        let is_refused = |answer: &Answer| matches!(answer.status(), 401 | 403);
        let send = async |token: &Rc<Token>| {
            let build = || build(token.expose());
            self.courier.send(errand, repeat, build).await
        };
        let token = self.token(access, errand).await?;
        let first = send(&token).await?;
        if !is_refused(&first) || !self.tokens.refused(&token, self.courier.world.now()) {
            return Ok(first);
        }
        let token = self.token(access, errand).await?;
        let mut second = send(&token).await?;
        second.is_repeated |= first.is_repeated;
        if is_refused(&second) {
            self.tokens.was_futile(self.courier.world.now());
        }
        Ok(second)
    }

    /// Sends a request with a token, and no other one if the server does not take that.
    pub async fn ask_once(
        &self,
        access: &Access,
        errand: &Errand,
        build: impl Fn(&str) -> Request,
    ) -> Result<Answer, StoreError> {
        let token = self.token(access, errand).await?;
        let build = || build(token.expose());
        self.courier.send(errand, Repeat::Safe, build).await
    }

    /// Whether the server lets the service in, which may need a login.
    pub async fn enter(&self, access: &Access, errand: &Errand) -> Result<(), StoreError> {
        match self.tokens.refusal(self.courier.world.now()) {
            Some(refusal) => Err(refusal),
            None => self.token(access, errand).await.map(drop),
        }
    }

    async fn token(&self, access: &Access, errand: &Errand) -> Result<Rc<Token>, StoreError> {
        let obtain = async |old: Option<&Token>| match old {
            Some(old) => self.renew(access, errand, old).await,
            None => self.log_in(access, errand).await,
        };
        self.tokens.get(&self.courier, errand, obtain).await
    }

    async fn renew(
        &self,
        access: &Access,
        errand: &Errand,
        old: &Token,
    ) -> Result<Grant, StoreError> {
        let build = || login::renewal(access, old.expose());
        // There is time for another renewal later, and none to lose now: the old token is still valid.
        let answer = self.courier.send(errand, Repeat::Never, build).await?;
        answer.read(login::parse)
    }

    async fn log_in(&self, access: &Access, errand: &Errand) -> Result<Grant, StoreError> {
        let jwt = self.jwt(access).await?;
        let build = || login::request(access, jwt.trim());
        let answer = self.courier.send(errand, Repeat::Safe, build).await?;
        answer.read(login::parse_login)
    }

    /// The service account's token; empty if none is shown.
    async fn jwt(&self, access: &Access) -> Result<Zeroizing<String>, StoreError> {
        let path = match &access.login.credentials {
            Credentials::AppRole { .. } => return Ok(Zeroizing::default()),
            Credentials::Kubernetes {
                jwt: Jwt::Token(token),
                ..
            } => return Ok(Zeroizing::new(token.expose().to_owned())),
            Credentials::Kubernetes {
                jwt: Jwt::File(path),
                ..
            } => path,
        };
        let failed = |why: &str| {
            StoreError::Failed(format!(
                "the service account's token in `{path}` (`vault.kubernetes.jwt`) can't be read: {why}"
            ))
        };
        let file = self.courier.world.file(path).await;
        let bytes = file.map_err(|why| failed(&why))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| failed("it is no text"))?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}
