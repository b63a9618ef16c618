// Clients whose certificates have to come from an authority (`tls.auth: on`): signed requests bring them along.
import assert from "node:assert/strict";
import { X509Certificate, createHash, createPrivateKey, randomBytes, sign } from "node:crypto";
import { after, before, test } from "node:test";

import { HOST, bearer, bindings, message, send, signed } from "./client.mjs";
import { start } from "./server.mjs";

// Made by who runs this: an authority, a client of its, and one of another authority.
const { SEALEDGE_CA, SEALEDGE_CLIENT, SEALEDGE_OTHER } = process.env;

class Client {
  constructor(made) {
    const [certificate, key] = made.split(" ").map((text) => Buffer.from(text, "base64"));
    this.certificate = new X509Certificate(certificate);
    this.key = createPrivateKey({ key, format: "der", type: "pkcs8" });
    this.spki = this.certificate.publicKey.export({ type: "spki", format: "der" });
    this.identity = createHash("sha256").update(this.spki).digest("hex");
  }

  // As docs/authentication.md has it.
  headers(method, path) {
    const certificate = `:${this.certificate.raw.toString("base64")}:`;
    const components = { "@method": method, "@authority": HOST, "@path": path, "client-cert": certificate };
    const names = Object.keys(components).map((name) => `"${name}"`);
    const nonce = randomBytes(16).toString("base64");
    const parameters =
      `(${names.join(" ")});created=${Math.floor(Date.now() / 1000)};nonce="${nonce}"` +
      `;alg="ecdsa-p256-sha256";keyid="${this.spki.toString("base64")}";tag="sealedge"`;
    const lines = Object.entries(components).map(([name, value]) => `"${name}": ${value}\n`);
    const base = Buffer.from(`${lines.join("")}"@signature-params": ${parameters}`);
    const signature = sign("sha256", base, { key: this.key, dsaEncoding: "ieee-p1363" });
    return {
      "client-cert": certificate,
      "signature-input": `s=${parameters}`,
      signature: `s=:${signature.toString("base64")}:`,
    };
  }
}

const ours = new Client(SEALEDGE_CLIENT);
const other = new Client(SEALEDGE_OTHER);
const PATH = "/v1/key/create/certified";
let worker;

before(async () => {
  const config = bindings.SEALEDGE_CONFIG.replace(/identity: [0-9a-f]{64}/, `identity: ${ours.identity}`);
  worker = await start({
    bindings: {
      ...bindings,
      SEALEDGE_CONFIG: `${config}tls: {auth: on, ca: "\${CLIENT_CA}"}\n`,
      CLIENT_CA: SEALEDGE_CA,
    },
  });
});
after(() => worker?.stop());

test("a certificate of the authority counts, and no other", async () => {
  const created = await send(worker, "PUT", PATH, ours.headers("PUT", PATH));
  assert.equal(created.status, 200, created.text);
  const refused = await send(worker, "PUT", PATH, other.headers("PUT", PATH));
  assert.equal(refused.status, 400);
  assert.match(message(refused), /not of a trusted authority/);
});

test("a key without a certificate is not enough", async () => {
  for (const answer of [
    await signed(worker, "PUT", PATH),
    await send(worker, "PUT", PATH, bearer),
  ]) {
    assert.equal(answer.status, 400);
    assert.match(message(answer), /a client certificate of a trusted authority is required/);
  }
});
