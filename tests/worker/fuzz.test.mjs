// Requests without any sense: none is answered by an error of the service, nor ends it.
import assert from "node:assert/strict";
import { createHash, randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { signer } from "../../examples/webcrypto/sign.mjs";
import { HOST, KEY, bearer, bindings, send, unharmed } from "./client.mjs";
import { start } from "./server.mjs";
import { eachOf, root } from "./tools.mjs";

const REQUESTS = 4000;
// With the seed that a failure has printed, the same requests are made again.
const SEED = process.env.SEALEDGE_SEED ?? String(randomInt(2 ** 32));

// What is chosen, by the hashes of seed and number: each request has choices of its own, in whatever order they go.
class Choices {
  constructor(number) {
    this.number = number;
    this.bytes = [];
    this.block = 0;
  }
  byte() {
    if (!this.bytes.length) {
      const text = `${SEED} ${this.number} ${(this.block += 1)}`;
      this.bytes = [...createHash("sha256").update(text).digest()];
    }
    return this.bytes.pop();
  }
  // A whole number below this one.
  below(end) {
    return (this.byte() * 65536 + this.byte() * 256 + this.byte()) % end;
  }
  of(list) {
    return list[this.below(list.length)];
  }
  is(percent) {
    return this.below(100) < percent;
  }
  list(most, make) {
    return Array.from({ length: this.below(most + 1) }, make);
  }
}

const METHODS = ["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "PROPFIND"];
const FIELDS = ["plaintext", "ciphertext", "message", "key", "context", "cipher", "Plaintext", "other"];
const HEADERS = ["authorization", "signature-input", "signature", "content-digest", "client-cert", "client-cert-chain",
  "x-tls-client-cert", "content-type", "accept", "cf-connecting-ip", "x-forwarded-for", "content-encoding"];
// What some of these mean something by.
const PIECES = ["", ",", ";", "=", "(", ")", ":", '"', "\\", "?1", "1.5", "-", "sealedge=", "s=", "sig1=", ":YQ==:",
  "sha-256=", ";created=1", ';nonce="a"', ';tag="sealedge"', ';keyid="AAAA"', ';alg="ed25519"', '("@method" "@path")',
  "Bearer ", "bearer\t", "Basic ", "kes:v1:", KEY, "127.0.0.1", "-----BEGIN CERTIFICATE-----", "%0A", "\u00e9", " "];
const PARTS = ["good", "new", "a", "*", "..", ".", "/", "%2e", "%2F", "%00", "%ff", "%", "~"];
// The table of bad input has more.
const table = await readFile(join(root, "tests/bad-input.jsonl"), "utf8");
const cases = table.trim().split("\n").map((line) => JSON.parse(line));
const recorded = cases.flatMap(({ method, path }) => (METHODS.includes(method) ? [[method, path]] : []));
const bodies = [...new Set(cases.flatMap(({ body }) => body ?? []))];
const ROUTES = [
  ...["/version", "/v1/ready", "/v1/status", "/v1/metrics", "/v1/api", "/v1/key/describe/", "/v1/key/list/",
    "/v1/policy/describe/", "/v1/policy/read/", "/v1/policy/list/", "/v1/identity/describe/", "/v1/identity/list/",
    "/v1/identity/self/describe"].map((path) => ["GET", path]),
  ...["create", "import", "generate", "encrypt", "decrypt", "hmac"].map((name) => ["PUT", `/v1/key/${name}/`]),
  ["DELETE", "/v1/key/delete/"],
];

// Method and path.
function lineBy(choices) {
  const letter = () => choices.of([..."abcZ019_-~*./%;:@&=+,'!$()[]{}^`|"]);
  const piece = () => {
    if (choices.is(40)) return choices.of(PARTS);
    if (choices.is(50)) return choices.list(12, letter).join("");
    return `%${choices.byte().toString(16).padStart(2, "0")}`;
  };
  let [method, path] = choices.is(25) ? choices.of(recorded) : choices.of(ROUTES);
  if (choices.is(20)) method = choices.of(METHODS);
  if (choices.is(30)) path += choices.of(["good", "new"]);
  if (choices.is(50)) path += choices.list(3, piece).join("");
  if (choices.is(20)) path += `?${choices.list(4, piece).join("&")}`;
  return [method, path];
}

function jsonBy(choices, depth = 0) {
  const bytes = () => Buffer.from(choices.list(60, () => choices.byte()));
  const simple = [null, true, -0.5, 1e300, 2 ** 53, "", "=", "AES256", "ChaCha20", "\u0000\ud800"];
  switch (choices.below(depth > 4 ? 2 : 4)) {
    case 0:
      return choices.of(simple);
    case 1:
      return bytes().toString("base64");
    case 2:
      return choices.list(4, () => jsonBy(choices, depth + 1));
    default:
      return Object.fromEntries(choices.list(4, () => [choices.of(FIELDS), jsonBy(choices, depth + 1)]));
  }
}

function bodyBy(choices) {
  if (choices.is(20)) return Buffer.alloc(0);
  if (choices.is(10)) return Buffer.from(choices.list(200, () => choices.byte()));
  let body = Buffer.from(choices.is(30) ? choices.of(bodies) : JSON.stringify(jsonBy(choices)));
  if (choices.is(30)) body = body.subarray(0, choices.below(body.length + 1));
  if (choices.is(20) && body.length) body[choices.below(body.length)] = choices.byte();
  // No longer than what the runtime reads of a body that nobody wants: then it ends the connection.
  if (choices.is(5)) body = Buffer.concat([body, Buffer.alloc(choices.below(50_000), " ")]);
  return body;
}

const valueBy = (choices) => choices.list(8, () => choices.of(PIECES)).join("").trim();

// A value with something in it changed, left out or added.
function mutated(choices, value) {
  const at = choices.below(value.length + 1);
  return `${value.slice(0, at)}${choices.of(PIECES)}${value.slice(at + choices.below(3))}`;
}

async function requestBy(choices) {
  const [method, path] = lineBy(choices);
  const body = bodyBy(choices);
  let headers = {};
  if (choices.is(60)) headers = { ...bearer };
  else if (choices.is(70)) headers = await sign(method, `http://${HOST}${path}`, body);
  for (const name of Object.keys(headers)) {
    if (choices.is(15)) headers[name] = mutated(choices, headers[name]);
  }
  for (const name of choices.list(2, () => choices.of(HEADERS))) {
    if (choices.is(30)) headers[name] = valueBy(choices);
  }
  if (choices.is(20) && body.length) headers["transfer-encoding"] = "chunked";
  return [method, path, headers, body];
}

let worker, sign;
before(async () => {
  sign = await signer(KEY);
  worker = await start({ bindings });
  await send(worker, "PUT", "/v1/key/create/good", bearer);
});
after(() => worker.stop());

test("no request makes the service fail", { timeout: 100_000 }, async (context) => {
  context.diagnostic(`SEALEDGE_SEED=${SEED}`);
  const statuses = new Map();
  await unharmed(worker, async () => {
    await eachOf(Array(REQUESTS).keys(), async (number) => {
      const [method, path, headers, body] = await requestBy(new Choices(number));
      const answer = await send(worker, method, path, headers, body).catch((error) => ({ status: 999, text: error }));
      const { status, text } = answer;
      const what = () =>
        `SEALEDGE_SEED=${SEED}, number ${number}: ${method} ${path} ${JSON.stringify(headers)} ` +
        `${JSON.stringify(body.toString("latin1").trimEnd())}: ${status} ${text}`;
      assert.ok(status < 500, what());
      if (status >= 400 && status !== 404 && method !== "HEAD") {
        assert.equal(typeof JSON.parse(text).message, "string", what());
      }
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    });
    return REQUESTS;
  });
  // It was not the same answer to all of them.
  for (const status of [200, 400, 401, 404, 405]) assert.ok(statuses.get(status) > 20, JSON.stringify([...statuses]));
  context.diagnostic(`statuses ${JSON.stringify(Object.fromEntries(statuses))}`);
});
