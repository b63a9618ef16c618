// The example that sends one signed request, as README has it.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";

import { KEY, bindings } from "./client.mjs";
import { start } from "./server.mjs";
import { root } from "./tools.mjs";

// By which name clients call it: the runtime's port is not known before.
const authorities = /authorities: \[.*\]/;

test("a signed request is one command", { timeout: 30_000 }, async () => {
  assert.match(bindings.SEALEDGE_CONFIG, authorities);
  const SEALEDGE_CONFIG = bindings.SEALEDGE_CONFIG.replace(authorities, "authorities: [127.0.0.1]");
  const worker = await start({ bindings: { ...bindings, SEALEDGE_CONFIG } });
  const run = (...words) =>
    new Promise((resolve) => {
      const options = { env: { ...process.env, KES_API_KEY: KEY } };
      const program = join(root, "examples/webcrypto/request.mjs");
      execFile(process.execPath, [program, ...words], options, (error, out, said) =>
        resolve({ code: error?.code ?? 0, out, said }),
      );
    });
  try {
    const url = `${worker.url}/v1/key`;
    assert.deepEqual(await run("POST", `${url}/create/my-app-1`), { code: 0, out: "", said: "" });
    const context = Buffer.from("app").toString("base64");
    const { out } = await run("POST", `${url}/generate/my-app-1`, JSON.stringify({ context }));
    const { plaintext, ciphertext } = JSON.parse(out);
    const opened = await run("POST", `${url}/decrypt/my-app-1`, JSON.stringify({ ciphertext, context }));
    assert.equal(JSON.parse(opened.out).plaintext, plaintext);
    const again = await run("POST", `${url}/create/my-app-1`);
    assert.deepEqual([again.code, again.said], [1, "HTTP 400\n"]);
    assert.match(again.out, /key already exists/);
    assert.equal((await run("POST")).code, 2);
  } finally {
    await worker.stop();
  }
});
