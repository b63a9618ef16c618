// Requests and answers, as wasm takes and gives them. Each crossing of its border takes longer than what is done here.

// How long a small body may take, in milliseconds.
const BODY_TIME = 10_000;
// Until how many bytes a body is small. Longer ones are read as they come, and only if their request gets so far.
const SMALL = 16_384;

const NOTHING = new ArrayBuffer();

// What becomes of a small body that does not come.
const LATE = "late";

// The body of a request, if there is none or it is small: an `ArrayBuffer`, `null` if it breaks off, or `LATE`; else
// nothing. It is not looked at where its length is told: that takes longer than to read it, and the runtime holds
// whoever tells a length to it.
export function smallBody(request) {
  const length = request.headers.get("content-length");
  if (length === null) return request.body === null ? NOTHING : undefined;
  if (length === "0") return NOTHING;
  return Number(length) > 0 && Number(length) <= SMALL ? read(request) : undefined;
}

function read(request) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, BODY_TIME, LATE);
    const done = (body) => {
      clearTimeout(timer);
      resolve(body);
    };
    request.arrayBuffer().then(done, () => done(null));
  });
}

// Names and values in turn, of those of these headers that are there; nothing if none are. Several lines come as one,
// with commas.
export function credentials(request, names) {
  let found;
  for (const name of names) {
    const value = request.headers.get(name);
    if (value !== null) (found ??= []).push(name, value);
  }
  return found;
}

// What Cloudflare tells of the client's certificate: five lines.
//
// Whoever calls this Worker by a service binding tells it instead, and may tell what it likes: only who may bind this
// Worker to another one can do that, and such a one could as well deploy another in its place.
export function told(request) {
  const tls = request.cf?.tlsClientAuth ?? {};
  const { certPresented, certVerified, certRevoked, certRFC9440, certChainRFC9440 } = tls;
  return [certPresented, certVerified, certRevoked, certRFC9440, certChainRFC9440].map(line).join("\n");
}

const line = (value) => (typeof value === "string" ? value : "");

// The body is copied: it is a part of wasm's memory, and the runtime would read it later.
export function respond(status, type, accept, challenge, body) {
  const headers = {};
  if (type !== undefined) headers["content-type"] = type;
  if (accept !== undefined) headers["accept-signature"] = accept;
  if (challenge !== undefined) headers["www-authenticate"] = challenge;
  return new Response(body.slice(), { status, headers });
}
