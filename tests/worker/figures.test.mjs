// What is counted, in all isolates together.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { bearer, bindings, send } from "./client.mjs";
import { durableObjects, run, sealedge, start } from "./server.mjs";

const counted = async (worker, status = 200) => {
  const answer = await send(worker, "GET", "/v1/metrics", bearer);
  assert.equal(answer.status, 200, answer.text);
  const name = { 2: "success", 4: "error" }[Math.floor(status / 100)];
  return Number(answer.text.match(new RegExp(`^kes_http_request_${name}{code="${status}"} (\\d+)$`, "m"))?.[1] ?? 0);
};

test("figures are those of all isolates, and outlive them", { timeout: 90_000 }, async () => {
  const persist = await mkdtemp(join(tmpdir(), "sealedge-worker-"));
  try {
    // A Worker by the same code and with the same objects: another isolate.
    const first = await sealedge({ bindings });
    const own = Object.entries(durableObjects).map(([name, object]) => [name, { ...object, scriptName: "sealedge" }]);
    const second = { ...first, name: "second", durableObjects: Object.fromEntries(own) };
    const door = {
      name: "door",
      modules: true,
      compatibilityDate: first.compatibilityDate,
      serviceBindings: { FIRST: "sealedge", SECOND: "second" },
      script: `export default {
        fetch: (request, env) => (request.headers.has("second") ? env.SECOND : env.FIRST).fetch(request),
      }`,
    };
    const workers = await run([door, first, second], persist);
    const there = { second: "1" };
    try {
      assert.equal(await counted(workers), 0);
      for (let times = 0; times < 5; times += 1) {
        assert.equal((await send(workers, "GET", "/version", there)).status, 200);
        assert.equal((await send(workers, "GET", "/v1/status")).status, 401);
      }
      // Its own 401s, and one 200: those of the other are not told yet.
      assert.equal(await counted(workers), 1);
      assert.equal(await counted(workers, 401), 5);
      // Nobody asks the other: it tells by itself.
      let sum = 0;
      for (let tries = 0; sum < 5 && tries < 40; tries += 1) {
        await sleep(500);
        const before = 3 + tries;
        sum = (await counted(workers)) - before;
      }
      assert.equal(sum, 5);
    } finally {
      await workers.stop();
    }
    const again = await start({ bindings, persist });
    try {
      assert.ok((await counted(again)) > 7);
    } finally {
      await again.stop();
    }
  } finally {
    await rm(persist, { recursive: true });
  }
});

test("without their object, figures are those of the isolate", async () => {
  const { FIGURES, ...objects } = durableObjects;
  assert.ok(FIGURES);
  const worker = await start({ bindings, objects });
  try {
    for (const count of [0, 1, 2]) assert.equal(await counted(worker), count);
  } finally {
    await worker.stop();
  }
});
