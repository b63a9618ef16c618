// A client of the Worker, and what it is configured by.
import assert from "node:assert/strict";
import { createHash, createPrivateKey, createPublicKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { request as http } from "node:http";
import { join } from "node:path";

import { signer } from "../../examples/webcrypto/sign.mjs";
import { root, until } from "./tools.mjs";

// What a fresh clone serves under `wrangler dev`.
const development = await readFile(join(root, ".dev.vars"), "utf8");
const variable = (name) => development.match(new RegExp(`^${name}=(['"]?)([^]*?)\\1$`, "m"))[2];
export const bindings = {
  SEALEDGE_CONFIG: variable("SEALEDGE_CONFIG"),
  SEALEDGE_IDENTITY: variable("SEALEDGE_IDENTITY"),
};
export const KEY = "kes:v1:AADevelopmentKeyThatEverybodyKnowsNeverUseIt";
export const bearer = { authorization: `Bearer ${KEY}` };

// API keys of other clients, which nobody should use either; and of any API key its private key and the identity that
// it has (RFC 8410).
const sha256 = (data) => createHash("sha256").update(data).digest();
export const apiKey = (who) => `kes:v1:${Buffer.concat([Buffer.of(0), sha256(who)]).toString("base64")}`;
const ED25519 = Buffer.from("302e020100300506032b657004220420", "hex");
export function privateKey(apiKey) {
  const seed = Buffer.from(apiKey.split(":")[2], "base64").subarray(1);
  return createPrivateKey({ key: Buffer.concat([ED25519, seed]), format: "der", type: "pkcs8" });
}
export const publicKey = (key) => createPublicKey(key).export({ type: "spki", format: "der" });
export const identityOf = (who) => sha256(publicKey(privateKey(apiKey(who)))).toString("hex");

// Signed requests are for this authority of the configuration, whatever port the runtime has found free.
export const HOST = "localhost:8787";

// A request as it is written, by a client that adds nothing of its own.
export function send(worker, method, path, headers = {}, body = "") {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(worker.url);
    // A connection of its own: the runtime ends those whose request it has not read.
    const options = { agent: false, method, hostname, port, path, headers: { host: HOST, ...headers } };
    const request = http(options, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (data) => (text += data));
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

export async function signed(worker, method, path, body = "", { key = KEY, host = HOST, more } = {}) {
  const sign = await signer(key);
  const headers = await sign(method, `http://${host}${path}`, body);
  return send(worker, method, path, { ...more, ...headers }, body);
}

export const message = (answer) => JSON.parse(answer.text).message;

// How many requests the service has answered since this instance of it began.
export async function answered(worker) {
  const { text } = await send(worker, "GET", "/v1/metrics", bearer);
  const figures = [...text.matchAll(/^kes_http_request_(?:success|error|failure)\{.*\} (\d+)$/gm)];
  return figures.reduce((sum, [, figure]) => sum + Number(figure), 0);
}

// Asks, and tells how often. All of these requests came to one instance, which lives on and has nothing to complain of.
export async function unharmed(worker, ask) {
  const before = await answered(worker);
  const count = await ask();
  // The request for the figures is not yet among them.
  assert.equal((await answered(worker)) - before - 1, count, "there were others, or the isolate was reset");
  assert.doesNotMatch(worker.log(), /"message":/);
}

// Until the log has it: it comes through a pipe.
export const logged = (worker, text) =>
  until(() => worker.log().includes(text), () => `the log does not have ${JSON.stringify(text)}:\n${worker.log()}`);
