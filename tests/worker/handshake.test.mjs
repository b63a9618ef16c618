// Clients whose certificates Cloudflare has seen in the handshake, as it tells a Worker in `request.cf`, and who else
// can tell it something.
import assert from "node:assert/strict";
import { X509Certificate, createHash } from "node:crypto";
import { after, before, test } from "node:test";

import { HOST, bearer, bindings, message, send } from "./client.mjs";
import { run, sealedge, start } from "./server.mjs";

// Made by who runs this: an authority, a client of its, and one of another authority.
const { SEALEDGE_CA, SEALEDGE_CLIENT, SEALEDGE_OTHER } = process.env;
const certificate = (made) => new X509Certificate(Buffer.from(made.split(" ")[0], "base64"));
const ours = certificate(SEALEDGE_CLIENT);
const other = certificate(SEALEDGE_OTHER);
const identity = ({ publicKey }) =>
  createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest("hex");

// Of Cloudflare's words for a handshake with this certificate those that count. (Its runtime on this machine
// asks no client for a certificate: what it would say is from its documentation.)
const shown = (certificate, more = {}) => ({
  certPresented: "1",
  certVerified: "SUCCESS",
  certRevoked: "0",
  certRFC9440: `:${certificate.raw.toString("base64")}:`,
  certRFC9440TooLarge: false,
  certChainRFC9440: "",
  certChainRFC9440TooLarge: false,
  ...more,
});

// Both are in a policy.
const policy = `
policy:
  clients:
    allow: ["/v1/key/create/*"]
    identities: [${[ours, other].map(identity).join(", ")}]
`;
const config = (tls) => ({
  ...bindings,
  SEALEDGE_CONFIG: `${bindings.SEALEDGE_CONFIG}${policy}${tls}\n`,
  CLIENT_CA: SEALEDGE_CA,
});
const workers = {};
before(async () => {
  workers.off = await start({ bindings: config("") });
  workers.on = await start({ bindings: config("tls: {cloudflare: on}") });
  workers.verifying = await start({ bindings: config('tls: {cloudflare: on, auth: on, ca: "${CLIENT_CA}"}') });
});
after(() => Promise.all(Object.values(workers).map((worker) => worker.stop())));

// The only thing that can set `cf` here; nobody can from outside.
async function ask(worker, tlsClientAuth, path = "/v1/identity/self/describe", { method = "GET", headers = {} } = {}) {
  const cf = tlsClientAuth && { tlsClientAuth };
  const answer = await worker.miniflare.dispatchFetch(`https://${HOST}${path}`, { method, cf, headers });
  return { status: answer.status, text: await answer.text() };
}

test("a certificate says who the client is, if that is on", async () => {
  const me = JSON.parse((await ask(workers.on, shown(ours))).text);
  assert.deepEqual([me.identity, me.policy, me.auth], [identity(ours), "clients", "mtls"]);
  const created = await ask(workers.on, shown(ours), "/v1/key/create/by-certificate", { method: "PUT" });
  assert.equal(created.status, 200, created.text);
  const denied = await ask(workers.on, shown(ours), "/v1/key/delete/by-certificate", { method: "DELETE" });
  assert.equal(denied.status, 403);

  assert.equal((await ask(workers.off, shown(ours))).status, 401);
});

test("without a certificate there is none", async () => {
  for (const told of [undefined, {}, { certPresented: "0" }, shown(ours, { certPresented: "0" }), shown(ours, { certPresented: 1 })]) {
    assert.equal((await ask(workers.on, told)).status, 401, JSON.stringify(told));
  }
});

test("one that can't be read is refused", async () => {
  for (const more of [
    { certRFC9440: "", certRFC9440TooLarge: true },
    { certRFC9440: undefined },
    { certRFC9440: 7 },
    { certRFC9440: ":AAAA:" },
    { certChainRFC9440: "x" },
  ]) {
    const answer = await ask(workers.on, shown(ours, more));
    assert.deepEqual([answer.status, message(answer)], [400, "tls: the client certificate is malformed"]);
  }
});

test("a revoked one is refused, and with tls.auth whatever Cloudflare or an authority of ours has not verified", async () => {
  const refused = async (worker, told) => {
    const answer = await ask(worker, told);
    assert.equal(answer.status, 400, answer.text);
    assert.match(message(answer), /^tls: the client certificate is not trusted/);
  };
  const failed = { certVerified: "FAILED:self signed certificate" };
  await refused(workers.on, shown(ours, { certRevoked: "1" }));
  assert.equal((await ask(workers.on, shown(ours, failed))).status, 200);
  assert.equal((await ask(workers.on, shown(other))).status, 200);

  assert.equal((await ask(workers.verifying, shown(ours))).status, 200);
  await refused(workers.verifying, shown(ours, { certRevoked: "1" }));
  await refused(workers.verifying, shown(ours, failed));
  await refused(workers.verifying, shown(ours, { certVerified: undefined }));
  await refused(workers.verifying, shown(ours, { certRevoked: undefined }));
  // Cloudflare knows the authorities of the whole account, and not which are ours.
  await refused(workers.verifying, shown(other));
});

test("two credentials are one too many", async () => {
  const answer = await ask(workers.on, shown(ours), undefined, { headers: bearer });
  assert.equal(answer.status, 400);
  assert.match(message(answer), /^more than one credential/);
});

test("no header says what the handshake was", async () => {
  const certificate = `:${ours.raw.toString("base64")}:`;
  for (const headers of [
    { "client-cert": certificate },
    { "cf-client-cert-sha256": ours.fingerprint256, "cf-cert-presented": "1", "cf-cert-verified": "SUCCESS" },
    { "x-tls-client-cert": encodeURIComponent(ours.toString()) },
  ]) {
    const answer = await send(workers.on, "GET", "/v1/identity/self/describe", headers);
    assert.equal(answer.status, 401, `${Object.keys(headers)}: ${answer.text}`);
  }
});

// docs/authentication.md says whom that makes one trust, here and in the next test.
test("Cloudflare's tools for this machine take what they tell from a header", async () => {
  const blob = JSON.stringify({ tlsClientAuth: shown(ours) });
  const path = "/v1/identity/self/describe";
  assert.equal((await send(workers.on, "GET", path, { "mf-cf-blob": blob })).status, 200);
  assert.equal((await send(workers.off, "GET", path, { "mf-cf-blob": blob })).status, 401);
});

test("a Worker that is bound to this one can tell of any handshake and any address", async () => {
  const caller = {
    name: "caller",
    modules: true,
    compatibilityDate: "2026-04-01",
    serviceBindings: { SEALEDGE: "sealedge" },
    script: `export default {
      async fetch(request, env) {
        const { told, ip } = await request.json();
        return env.SEALEDGE.fetch("https://kms.example.com/v1/identity/self/describe", {
          headers: { "cf-connecting-ip": ip },
          cf: { tlsClientAuth: told },
        });
      }
    }`,
  };
  for (const [tls, status] of [["", 401], ["tls: {cloudflare: on}", 200]]) {
    const worker = await run([caller, await sealedge({ bindings: config(tls) })]);
    try {
      const told = JSON.stringify({ told: shown(ours), ip: "192.0.2.7" });
      const answer = await send(worker, "POST", "/", {}, told);
      assert.equal(answer.status, status, answer.text);
      if (status === 200) assert.equal(JSON.parse(answer.text).identity, identity(ours));
    } finally {
      await worker.stop();
    }
  }
});
