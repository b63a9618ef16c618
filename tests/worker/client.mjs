// A client of the Worker, and what it is configured by.
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

// API keys of other clients, which nobody should use either, and the identities that they have (RFC 8410).
const sha256 = (data) => createHash("sha256").update(data);
const ED25519 = Buffer.from("302e020100300506032b657004220420", "hex");
export const apiKey = (who) => `kes:v1:${Buffer.concat([Buffer.of(0), sha256(who).digest()]).toString("base64")}`;
export function identityOf(who) {
  const key = createPrivateKey({ key: Buffer.concat([ED25519, sha256(who).digest()]), format: "der", type: "pkcs8" });
  return sha256(createPublicKey(key).export({ type: "spki", format: "der" })).digest("hex");
}

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

// Until the log has it: it comes through a pipe.
export const logged = (worker, text) =>
  until(() => worker.log().includes(text), () => `the log does not have ${JSON.stringify(text)}:\n${worker.log()}`);
