// Who sends a request: what proves it, and what does not. docs/authentication.md says how requests are signed.
import assert from "node:assert/strict";
import { createHash, randomBytes, sign as signBytes } from "node:crypto";
import { after, before, test } from "node:test";

import { HOST, KEY, apiKey, bearer, bindings, message, privateKey, publicKey, send, unharmed } from "./client.mjs";
import { start } from "./server.mjs";

const ADMIN = privateKey(KEY);
const SELF = "/v1/identity/self/describe";
const ENCRYPT = "/v1/key/encrypt/good";
const BODY = JSON.stringify({ plaintext: "AAAA" });
const digestOf = (body, by = "sha256") => `:${createHash(by).update(body).digest("base64")}:`;
const now = () => Math.floor(Date.now() / 1000);
const text = (value) => `"${value}"`;

let worker;
before(async () => {
  worker = await start({ bindings });
  assert.equal((await send(worker, "PUT", "/v1/key/create/good", bearer)).status, 200);
});
after(() => worker.stop());

// The headers of a signed request, in which anything may be otherwise than it should. What is signed is what they say.
// `covered`: the components by name; `parameters`: as they are written, and `undefined` for none.
function headers(method, path, { covered = {}, parameters = {}, key = ADMIN, label = "s", named = label } = {}) {
  const [pathname, query] = path.split("?");
  const components = { "@method": method, "@authority": HOST, "@path": pathname };
  if (query) components["@query"] = `?${query}`;
  const listed = Object.entries({ ...components, ...covered }).filter(([, value]) => value !== undefined);
  const all = {
    created: now(),
    nonce: text(randomBytes(16).toString("base64")),
    alg: text("ed25519"),
    keyid: text(publicKey(key).toString("base64")),
    tag: text("sealedge"),
    ...parameters,
  };
  const written = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : `;${name}=${value}`));
  const input = `(${listed.map(([name]) => text(name)).join(" ")})${written.join("")}`;
  const lines = [...listed.map(([name, value]) => `"${name}": ${value}`), `"@signature-params": ${input}`];
  const signature = signBytes(null, Buffer.from(lines.join("\n")), key).toString("base64");
  const own = Object.fromEntries(listed.filter(([name]) => !name.startsWith("@")));
  return { ...own, "signature-input": `${label}=${input}`, signature: `${named}=:${signature}:` };
}
const digest = (value) => ({ covered: { "content-digest": value } });
const many = (each) => Array.from({ length: 400 }, (_, at) => each(at)).join("");
const crowded = (input) => ({ "signature-input": input, signature: "s=:YQ==:" });
const fraction = { parameters: { created: `${now()}.5` } };
const another = { parameters: { keyid: text(publicKey(privateKey(apiKey("other"))).toString("base64")) } };
const mixed = `sha-256=${digestOf(BODY)}, sha-512=${digestOf("other", "sha512")}`;

// Each: what is otherwise, or a function of the right headers; and what is said to it.
const asking = [
  ["nothing to read", () => ({ "signature-input": "", signature: "" }), /no signature has the parameter tag/],
  ["no input", ({ signature }) => ({ signature }), /the header 'signature-input' is missing/],
  ["no signature", ({ signature, ...others }) => others, /the header 'signature' is missing/],
  ["no structured field", (right) => ({ ...right, "signature-input": "(((" }), /'signature-input' is not as RFC 9421/],
  ["no bytes", (right) => ({ ...right, signature: "s=1" }), /'signature' is not as RFC 9421/],
  ["broken base64", (right) => ({ ...right, signature: "s=:*:" }), /'signature' is not as RFC 9421/],
  ["an empty signature", (right) => ({ ...right, signature: "s=::" }), /is not that of this request by this key/],
  ["a short signature", (right) => ({ ...right, signature: "s=:YQ==:" }), /is not that of this request by this key/],
  ["zeros", (right) => ({ ...right, signature: `s=:${"A".repeat(86)}==:` }), /is not that of this request by this key/],
  ["two credentials of one kind", () => ({ authorization: `${bearer.authorization}, ${bearer.authorization}` }),
    /an API key is `kes:v1:` and 44/],
  ["two inputs", (right) => ({ ...right, "signature-input": `${right["signature-input"]}, b=();tag="sealedge"` }),
    /more than one signature has tag/],
  ["a header that is too long", (right) => ({ ...right, signature: `s=:${"A".repeat(17 << 10)}:` }), /more than 16384/],
  ["no ASCII", (right) => ({ ...right, signature: "s=:\u00e9:" }), /is no ASCII text/],
  ["many parameters", () => crowded(`s=()${many((at) => `;p${at}`)}`), /more than 16/],
  ["many components", () => crowded(`s=(${many((at) => ` "c${at}"`)})`), /more than 16/],
  ["many members", () => crowded(`s=1${many((at) => `, m${at}`)}`), /more than 16/],
  ["a signature of another name", { named: "other" }, /'signature' has none of the name/],
  ["another's tag", { parameters: { tag: text("other") } }, /no signature has the parameter tag/],
  ["no tag", { parameters: { tag: undefined } }, /no signature has the parameter tag/],
  ["no time", { parameters: { created: undefined } }, /the parameter 'created' is missing/],
  ["a time that is none", { parameters: { created: text("now") } }, /the parameter 'created' is missing or of/],
  ["a time with a fraction", fraction, /the parameter 'created' is missing or of/],
  ["long ago", { parameters: { created: 1 } }, /'created' is 1, more than .* set the clock/],
  ["before all time", { parameters: { created: -999_999_999_999_999 } }, /more than .* set the clock/],
  ["at the end of time", { parameters: { created: 999_999_999_999_999 } }, /more than .* set the clock/],
  ["a time beyond numbers", { parameters: { created: 9_999_999_999_999_999n } }, /'signature-input' is not as RFC/],
  ["expired", { parameters: { expires: now() - 1 } }, /the signature has expired/],
  ["an end that is none", { parameters: { expires: "?1" } }, /the parameter 'expires' is missing or of the wrong/],
  ["no nonce", { parameters: { nonce: undefined } }, /the parameter 'nonce' is missing/],
  ["an empty nonce", { parameters: { nonce: text("") } }, /'nonce' is empty or has more than 128/],
  ["a long nonce", { parameters: { nonce: text("n".repeat(129)) } }, /'nonce' is empty or has more than 128/],
  ["no key", { parameters: { keyid: undefined } }, /the parameter 'keyid' is missing/],
  ["a key that is none", { parameters: { keyid: text("AAAA") } }, /'keyid' is not the base64/],
  ["another's key", another, /is not that of this request by this key/],
  ["another algorithm", { parameters: { alg: text("rsa-v1_5-sha256") } }, /'alg' is not that of the key/],
  ["no algorithm", { parameters: { alg: undefined } }, /the parameter 'alg' is missing/],
  ["no method", { covered: { "@method": undefined } }, /does not cover "@method"/],
  ["no authority", { covered: { "@authority": undefined } }, /does not cover "@authority"/],
  ["no path", { covered: { "@path": undefined } }, /does not cover "@path"/],
  ["another method", { covered: { "@method": "DELETE" } }, /is not that of this request by this key/],
  ["another path", { covered: { "@path": "/v1/status" } }, /is not that of this request by this key/],
  ["another component", { covered: { "@status": 200 } }, /covers something twice, or beside/],
  ["a digest that is not there", (right) => ({ ...right, ...headers("GET", SELF, digest("")), "content-digest": [] }),
    /the header 'content-digest' is missing/],
  ["a certificate beside", (right) => ({ ...right, "client-cert": ":YQ==:" }), /does not cover "client-cert"/],
  ["a certificate that is none", { covered: { "client-cert": ":YQ==:" } }, /'client-cert' is not that of the key/],
  ["a certificate without bytes", { covered: { "client-cert": "YQ==" } }, /'client-cert' is not as/],
  ["a chain alone", { covered: { "client-cert-chain": ":YQ==:" } }, /the header 'client-cert' is missing/],
  ["a bearer key that is none", () => ({ authorization: "Bearer kes:v1:AAAA" }), /an API key is `kes:v1:` and 44/],
  ["a bearer key of another kind", () => ({ authorization: bearer.authorization.replace(":AA", ":BB") }),
    /of an unknown kind/],
  ["another's token", () => ({ authorization: "Bearer eyJhbGciOiJub25lIn0.e30." }), /an API key begins with `kes:v1:`/],
  ["a long token", () => ({ authorization: `Bearer ${"a".repeat(20_000)}` }), /'authorization' has more than 16384/],
  ["a token that is no text", () => ({ authorization: "Bearer \u00e9" }), /'authorization' is no ASCII text/],
  ["two credentials", (right) => ({ ...right, ...bearer }), /more than one credential, a bearer key and a signature/],
];

// The same of requests with a body.
const sending = [
  ["no digest", {}, /does not cover "content-digest"/],
  ["a digest beside", (right) => ({ ...right, "content-digest": "sha-256=:YQ==:" }), /does not cover "content-digest"/],
  ["another body's digest", digest(`sha-256=${digestOf("other")}`), /the body is not that of 'content-digest'/],
  ["one right, one wrong", digest(mixed), /the body is not that/],
  ["an unknown digest", digest(`md5=${digestOf(BODY, "md5")}`), /'content-digest' has no digest by/],
  ["a short digest", digest("sha-256=:YQ==:"), /'content-digest' has no digest by/],
  ["a digest without bytes", digest("sha-256=1"), /'content-digest' has no digest by/],
  ["a digest that is none", digest("((("), /'content-digest' has no digest by/],
];

const tampered = (right, otherwise, method, path) =>
  typeof otherwise === "function" ? otherwise(right) : headers(method, path, otherwise);

test("what proves nothing is refused, and says why", async () => {
  await unharmed(worker, async () => {
    for (const [method, path, cases, body] of [["GET", SELF, asking, ""], ["PUT", ENCRYPT, sending, BODY]]) {
      for (const [what, otherwise, said] of cases) {
        const right = headers(method, path);
        const answer = await send(worker, method, path, tampered(right, otherwise, method, path), body);
        assert.equal(answer.status, 400, `${what}: ${answer.text}`);
        assert.match(message(answer), said, what);
      }
    }
    const withQuery = await send(worker, "GET", `${SELF}?a`, headers("GET", SELF));
    assert.match(message(withQuery), /does not cover "@query"/);
    return asking.length + sending.length + 1;
  });
});

const inLines = ({ signature, ...others }) => ({ ...others, signature: ["other=:YQ==:", signature] });

test("what proves who asks is enough, in any form", async () => {
  const sha512 = digest(`sha-512=${digestOf(BODY, "sha512")}`);
  const both = digest(`md5=:YQ==:, sha-256=${digestOf(BODY)}`);
  for (const [method, path, sent, body] of [
    ["GET", SELF, headers("GET", SELF)],
    ["GET", `${SELF}?a=%2F&b`, headers("GET", `${SELF}?a=%2F&b`)],
    ["GET", SELF, headers("GET", SELF, { parameters: { expires: now() + 60 } })],
    ["GET", SELF, headers("GET", SELF, { label: "another-name" })],
    // A dictionary may come in several lines (RFC 9651, 3.2).
    ["GET", SELF, inLines(headers("GET", SELF))],
    ["GET", SELF, { authorization: bearer.authorization.replace("Bearer", "bEARER") }],
    // Meant for others.
    ["GET", SELF, { ...headers("GET", SELF), authorization: "Basic YTpi" }],
    ["GET", SELF, { ...bearer, signature: 'keyId="a",signature="YQ=="' }],
    ["PUT", ENCRYPT, headers("PUT", ENCRYPT, sha512), BODY],
    ["PUT", ENCRYPT, headers("PUT", ENCRYPT, both), BODY],
  ]) {
    const answer = await send(worker, method, path, sent, body);
    assert.equal(answer.status, 200, `${path} ${JSON.stringify(sent)}: ${answer.text}`);
  }
  const me = await send(worker, "GET", SELF, headers("GET", SELF));
  assert.deepEqual([JSON.parse(me.text).admin, JSON.parse(me.text).auth], [true, "signature"]);
});

test("who has nothing to show is told what is taken", async () => {
  for (const sent of [{}, { authorization: "Basic YTpi" }, { authorization: "Bearer" }, { "client-cert": ":YQ==:" }]) {
    const answer = await send(worker, "GET", SELF, sent);
    assert.equal(answer.status, 401, `${JSON.stringify(sent)}: ${answer.text}`);
    assert.equal(answer.headers["www-authenticate"], 'Signature realm="sealedge", Bearer realm="sealedge"');
    assert.match(answer.headers["accept-signature"], /^sealedge=\(/);
  }
});

test("who signs has rights, or is refused", async () => {
  const path = "/v1/key/create/strange";
  const key = privateKey(apiKey("stranger"));
  assert.equal((await send(worker, "PUT", path, headers("PUT", path, { key }))).status, 403);
});

test("a signature is for this server", async () => {
  for (const host of ["kms.example.com", "localhost", "localhost:8788"]) {
    const sent = { ...headers("GET", SELF, { covered: { "@authority": host } }), host };
    const answer = await send(worker, "GET", SELF, sent);
    assert.equal(answer.status, 400, host);
    assert.match(message(answer), new RegExp(`this server is not "${host}"`));
  }
});
