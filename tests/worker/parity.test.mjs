// What was asked of a real KES server, asked of the Worker by signed requests.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { apiKey, bindings, identityOf, send, signed } from "./client.mjs";
import { start } from "./server.mjs";
import { root } from "./tools.mjs";

// The clients of the recording, by keys that its tests know.
const key = (who) => apiKey(`parity ${who}`);
const identity = (who) => identityOf(`parity ${who}`);

const recorded = await readFile(join(root, "tests/parity.yml"), "utf8");

function config() {
  const seal = bindings.SEALEDGE_CONFIG.match(/^seal:[^]*?(?=^log:)/m)[0];
  return `version: v1
${recorded.replace(/\$\{(\w+)\}/g, (_, who) => identity(who.toLowerCase()))}
auth: {authorities: [localhost:8787]}
keystore: {cloudflare: {durableobjects: {}}}
${seal}`;
}

const kind = (value) => (Array.isArray(value) ? "list" : value === null ? "null" : typeof value);

function masked({ json = null, text = null }, free = []) {
  const body = json && !Array.isArray(json) ? { ...json } : json;
  for (const field of free) if (body && field in body) body[field] = kind(body[field]);
  return { json: body, text };
}

test("every recorded exchange of KES is repeated by signed requests", { timeout: 60_000 }, async () => {
  const SEALEDGE_CONFIG = config();
  const worker = await start({ bindings: { ...bindings, SEALEDGE_CONFIG } });
  const recording = (await readFile(join(root, "tests/parity.jsonl"), "utf8")).trim().split("\n");
  const variables = {};
  const fill = (text) => text.replace(/\$\{(\w+)\}/g, (whole, name) => variables[name] ?? whole);
  let unauthenticated = 0;
  try {
    for (const line of recording) {
      const case_ = JSON.parse(line);
      const body = fill(case_.json === undefined ? (case_.raw ?? "") : JSON.stringify(case_.json));
      const path = fill(case_.path);
      const who = case_.as ?? "admin";
      const answer =
        who === "none"
          ? await send(worker, case_.method, path, case_.headers, body)
          : await signed(worker, case_.method, path, body, { key: key(who), more: case_.headers });
      const got = { status: answer.status, type: answer.headers["content-type"] ?? null };
      try {
        got.json = JSON.parse(answer.text);
      } catch {
        if (answer.text) got.text = answer.text;
      }
      for (const [name, field] of Object.entries(case_.save ?? {})) variables[name] = got.json[field];
      if (who !== "none" && got.json?.auth) {
        assert.equal(got.json.auth, "signature");
        delete got.json.auth;
      }
      // Nobody can show a certificate: this alone is answered otherwise.
      if (case_.answer.json?.message === "tls: client certificate is required") {
        assert.equal(got.status, 401, line);
        unauthenticated += 1;
        continue;
      }
      const { same = ["status", "type", "body"], any } = case_;
      const want = case_.answer;
      if (same.includes("status")) assert.equal(got.status, want.status, `${line}\n${answer.text}`);
      if (same.includes("type")) assert.equal(got.type, want.type, line);
      if (same.includes("body")) assert.deepEqual(masked(got, any), masked(want, any), line);
    }
  } finally {
    await worker.stop();
  }
  assert.ok(recording.length >= 99 && unauthenticated > 0);
});
