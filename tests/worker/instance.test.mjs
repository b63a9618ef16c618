// What becomes of requests when an instance of the wasm dies.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { bearer, bindings, logged, message, send, signed } from "./client.mjs";
import { start } from "./server.mjs";
import { root } from "./tools.mjs";

// The real wasm, whose memory is made to end in the middle of a call, or after it.
test("a trap costs a 500, and the service starts anew", { timeout: 20_000 }, async () => {
  const glue = await readFile(join(root, "target/worker/sealedge.js"), "utf8");
  const entry = "export function serve(request, method, url, ip, arrived, body, env) {";
  assert.ok(glue.includes(entry));
  const trap = "() => wasm.__wbindgen_malloc(0xfffffff0, 8)";
  const replace = {
    "sealedge.js": glue.replace(entry, `${entry}
      if (request.url.endsWith("/trap")) (${trap})();
      if (request.url.endsWith("/later")) { queueMicrotask(${trap}); return new Promise(() => {}); }`),
  };
  const trapped = await start({ bindings, replace });
  try {
    const ask = (path) => send(trapped, "POST", path, bearer, "{}");
    assert.equal((await ask("/v1/key/create/still")).status, 200);
    for (const path of ["/trap", "/later"]) {
      assert.equal((await ask("/v1/key/generate/still")).status, 200);
      const lost = await ask(path);
      assert.deepEqual([lost.status, message(lost)], [500, "internal server error"], path);
    }
    assert.equal((await ask("/v1/key/generate/still")).status, 200);
    await logged(trapped, "the service has stopped and starts anew");
  } finally {
    await trapped.stop();
  }
});

// Whose objects fail, be it for a while.
test("a signed request that can't be remembered is refused", { timeout: 20_000 }, async () => {
  const entry = await readFile(join(root, "target/worker/entry.mjs"), "utf8");
  const remember = "remember(nonce, created, until) {";
  assert.ok(entry.includes(remember));
  const replace = { "entry.mjs": entry.replace(remember, `${remember} throw new Error("on purpose");`) };
  const forgetful = await start({ bindings, replace });
  try {
    assert.equal((await send(forgetful, "POST", "/v1/key/create/a", bearer)).status, 200);
    const refused = await signed(forgetful, "POST", "/v1/key/generate/a", "{}");
    assert.equal(refused.status, 503, refused.text);
    assert.match(message(refused), /try again later/);
    await logged(forgetful, "on purpose");
  } finally {
    await forgetful.stop();
  }
});

// A fake in the place of the wasm, for what the real one should never do.
const fake = `
let panicked, calls = 0;
export function initSync() {}
export function __wbg_reset_state() {}
export function on_panic(call) { panicked = call; }
export const is_to_attend = () => false;
export function bundled() {}
export async function serve(request) {
  calls += 1;
  switch (new URL(request.url).pathname) {
    case "/panic": panicked("on purpose"); return new Promise(() => {});
    case "/trap": throw new WebAssembly.RuntimeError("unreachable");
    case "/later": queueMicrotask(() => { throw new WebAssembly.RuntimeError("later"); }); return new Promise(() => {});
    case "/wait": return new Promise(() => {});
    default: return new Response("call " + calls);
  }
}
export class Keys {}
export class Figures {}
export class Nonces {}
`;

test("an instance that has died costs its requests a 500, and no other", { timeout: 20_000 }, async () => {
  const faked = await start({ bindings, replace: { "sealedge.js": fake } });
  try {
    for (const path of ["/panic", "/trap", "/later"]) {
      const waiting = send(faked, "GET", "/wait");
      await new Promise((resolve) => setTimeout(resolve, 200));
      const lost = await send(faked, "GET", path);
      assert.deepEqual([lost.status, message(lost)], [500, "internal server error"], path);
      assert.equal((await waiting).status, 500, `${path}: who waited`);
      assert.equal((await send(faked, "GET", "/")).status, 200, `${path}: the next`);
    }
  } finally {
    await faked.stop();
  }
});
