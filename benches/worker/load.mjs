// A client that costs little: requests that are bytes already, each on a connection that has no other under way.
import { connect } from "node:net";

// A request of HTTP/1.1 as it is sent.
export function written(method, path, headers = {}, body = "") {
  const lines = Object.entries({ ...headers, "content-length": body.length }).map(([name, value]) => `${name}: ${value}`);
  return Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n${body}`, "latin1");
}

// Sends all requests, over some connections: how many seconds that took, and how many were lost. Every answer has to be
// a 200. A request is lost if its connection is closed before it is answered: the time is that of the last answer.
export async function drive(port, requests, connections) {
  const queue = requests.values();
  const begun = performance.now();
  const ended = await Promise.all(Array.from({ length: connections }, () => connection(port, queue)));
  const last = Math.max(...ended.map(({ answered }) => answered));
  return { seconds: (last - begun) / 1000, lost: ended.filter(({ lost }) => lost).length };
}

function connection(port, queue) {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    let answer = "";
    let answered = 0;
    const next = () => {
      const { value, done } = queue.next();
      if (!done) return socket.write(value);
      resolve({ answered, lost: false });
      return socket.end();
    };
    socket.on("connect", next);
    socket.on("data", (data) => {
      answer += data.latin1Slice();
      const head = answer.indexOf("\r\n\r\n");
      if (head < 0) return;
      const [, length] = answer.match(/^content-length: (\d+)\r$/im) ?? [];
      if (length && answer.length < head + 4 + Number(length)) return;
      if (!length || !answer.startsWith("HTTP/1.1 200 ")) {
        reject(new Error(`an answer that was not expected:\n${answer}`));
        socket.destroy();
        return;
      }
      answer = "";
      answered = performance.now();
      next();
    });
    socket.on("error", () => {}); // What it means is that it is closed.
    socket.on("close", () => resolve({ answered, lost: true }));
  });
}
