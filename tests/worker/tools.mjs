// What tests of different kinds need, and has nothing to do with the Worker.
import { createServer } from "node:net";
import { join } from "node:path";

// The project, and what npm has installed: beside what is built, so that the source stays as it is.
export const root = join(import.meta.dirname, "../..");
export const installed = process.env.SEALEDGE_NODE_MODULES ?? join(root, "target/node");

// A port that nobody listens on, for programs that have to be told one.
export const freePort = () =>
  new Promise((resolve) => {
    const listener = createServer().listen(0, "127.0.0.1", () => {
      const { port } = listener.address();
      listener.close(() => resolve(port));
    });
  });

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Until `is` says so, or gives up: `fault` tells what there is instead.
export async function until(is, fault, seconds = 30) {
  for (const end = Date.now() + seconds * 1000; !(await is()); await pause(50)) {
    if (Date.now() > end) throw new Error(`not after ${seconds} s: ${fault()}`);
  }
}

// Does it for each, 16 at a time.
export async function eachOf(items, work) {
  const rest = items[Symbol.iterator]();
  const worker = async () => {
    for (const item of rest) await work(item);
  };
  await Promise.all(Array.from({ length: 16 }, worker));
}
